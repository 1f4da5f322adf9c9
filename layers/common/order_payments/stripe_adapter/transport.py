"""HTTP session for the Stripe SDK, with a timeout for the whole request."""

import threading
from concurrent.futures import Future
from typing import Any

import requests

STRIPE_MAX_CONNECTIONS = 64


class TimedSession(requests.Session):
    """A session that waits at most `timeout` seconds for a complete response.

    The SDK's timeout is fixed when its client is created; this one can be set for each call, to the time that the
    function has left. A socket timeout restarts with every byte and does not limit the DNS lookup. Each request
    therefore runs in its own thread, which is abandoned at the timeout. An abandoned request may still reach Stripe,
    even after the caller got its response. Its idempotency key or the fence makes that harmless.

    Each thread has its own timeout, so that concurrent calls keep their own deadlines. Redirects are not followed:
    Stripe sends none, and the target could report an order as paid.
    """

    def __init__(self) -> None:
        super().__init__()
        # The reconciler's threads share a session. By default its pool keeps ten connections and drops the others.
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
        response: Future[requests.Response] = Future()

        def run() -> None:
            try:
                response.set_result(self._send(request, **{**kwargs, "timeout": seconds, "allow_redirects": False}))
            except Exception as error:  # noqa: BLE001 - raised in the thread that waits
                response.set_exception(error)

        threading.Thread(target=run, name="stripe", daemon=True).start()
        try:
            return response.result(seconds)
        except TimeoutError:
            raise requests.ReadTimeout("no complete response within the timeout", request=request) from None

    def _send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        return super().send(request, **kwargs)


class _PerThread(threading.local):
    timeout: float = 10.0
