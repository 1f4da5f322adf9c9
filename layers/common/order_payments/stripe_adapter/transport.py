"""How the SDK's requests reach a Stripe that is a server."""

import threading
from concurrent.futures import Future
from typing import Any

import requests

STRIPE_MAX_CONNECTIONS = 64


class TimedSession(requests.Session):
    """A session that waits `timeout` seconds for an answer, whatever its caller says and however the server dawdles.

    The SDK fixes its time-out when its client is made; ours follows the time that the function has left. And a
    time-out of a socket starts anew with every byte, nor does it bound the search for the address: so the request runs
    in a thread of its own, which is left alone when its time is up. It may still arrive then, even later than the
    answer to our caller: its idempotency key, or the fence, has the same effect come of it once or never.

    Every thread has its own time-out, so that the deadline of one call never becomes another's. A redirect is an answer
    like any other: Stripe sends none, and where one is followed, a stranger can say that an order was paid.
    """

    def __init__(self) -> None:
        super().__init__()
        # The threads of the reconciler share a session, which would keep ten connections and drop the others.
        for prefix in tuple(self.adapters):
            self.mount(prefix, requests.adapters.HTTPAdapter(pool_maxsize=STRIPE_MAX_CONNECTIONS))
        self._per_thread = _PerThread()

    @property
    def timeout(self) -> float:
        return self._per_thread.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._per_thread.timeout = seconds

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        seconds = self.timeout
        answer: Future[requests.Response] = Future()

        def wait_for_it() -> None:
            try:
                answer.set_result(self._send(request, **{**kwargs, "timeout": seconds, "allow_redirects": False}))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the answer is waited for
                answer.set_exception(error)

        threading.Thread(target=wait_for_it, name="stripe", daemon=True).start()
        try:
            return answer.result(seconds)
        except TimeoutError:
            raise requests.ReadTimeout("no whole answer came in time", request=request) from None

    def _send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        return super().send(request, **kwargs)


class _PerThread(threading.local):
    timeout: float = 10.0
