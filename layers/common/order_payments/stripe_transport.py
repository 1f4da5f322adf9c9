"""How the SDK's requests reach a Stripe that is a server."""

import threading
from typing import Any

import requests
from urllib3 import Timeout


class TimedSession(requests.Session):
    """A session that waits `timeout` seconds for an answer, connecting included, whatever its caller says.

    The SDK fixes its time-out when its client is made; ours follows the time that the function has left. Every thread
    has its own, so that the deadline of one call never becomes another's. A redirect is an answer like any other:
    Stripe sends none, and where one is followed, a stranger can say that an order was paid.
    """

    def __init__(self) -> None:
        super().__init__()
        self._per_thread = _PerThread()

    @property
    def timeout(self) -> float:
        return self._per_thread.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._per_thread.timeout = seconds

    @property
    def requests_sent(self) -> int:
        """How many requests this thread has sent."""
        return self._per_thread.requests_sent

    @requests_sent.setter
    def requests_sent(self, number: int) -> None:
        self._per_thread.requests_sent = number

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        self.requests_sent += 1
        ours = {"timeout": Timeout(total=self.timeout), "allow_redirects": False}
        return super().send(request, **{**kwargs, **ours})


class _PerThread(threading.local):
    timeout: float = 10.0
    requests_sent: int = 0
