"""How the SDK's requests reach a Stripe that is a server."""

from typing import Any

import requests


class TimedSession(requests.Session):
    """A session that waits `timeout` seconds for each answer, whatever its caller says.

    The SDK fixes its time-out when its client is made; ours follows the time that the function has left.
    """

    timeout: float = 10.0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        return super().send(request, **{**kwargs, "timeout": self.timeout})
