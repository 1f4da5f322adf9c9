"""The dummy Stripe as an HTTP client of the Stripe SDK: `stripe.StripeClient(key, http_client=…)`.

The SDK encodes requests, chooses error classes and retries. This client replaces the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import stripe

from dummy_stripe.api import StripeAPI
from dummy_stripe.endpoints import RequestLost
from dummy_stripe.responses import SLOW_SECONDS, Reply
from dummy_stripe.stores import Store, StoreUnavailable

DEFAULT_TIMEOUT_SECONDS: Final = 80.0
"""Read timeout of the SDK's own clients."""


class DummyStripeHTTPClient(stripe.HTTPClient):
    """The dummy Stripe, in process. As thread-safe as `store`.

    The parameters are attributes and can be changed at any time.

    Parameters
    ----------
    store
        Store of the dummy's state.
    timeout
        Read timeout in seconds. A slower response is lost, but its effect remains.
    clock, sleep
        Functions that return the time in Unix seconds, and that pause for a number of seconds.

    Like the SDK's own clients, `request` raises `stripe.APIConnectionError` with `should_retry` if no response arrives.
    A refusal is an ordinary response.
    """

    name = "dummy"

    def __init__(
        self,
        store: Store,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.store = store
        self.timeout = timeout
        self.clock = clock
        self.sleep = sleep

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        try:
            response = StripeAPI(self.store, self.clock).respond(method, url, headers or {}, post_data or "")
        except RequestLost:
            raise _read_timeout() from None
        except StoreUnavailable as error:
            raise _no_response("ConnectionError: the table of the dummy Stripe did not respond.") from error
        if response.reply is Reply.LOST:
            raise _read_timeout()
        if response.reply is Reply.SLOW:
            self.sleep(min(SLOW_SECONDS, self.timeout))
            if self.timeout < SLOW_SECONDS:
                raise _read_timeout()
        return response.body, response.status, response.headers

    def close(self) -> None:
        """Do nothing: no connection is open."""


def _read_timeout() -> stripe.APIConnectionError:
    return _no_response("ReadTimeout: Read timed out.")


def _no_response(cause: str) -> stripe.APIConnectionError:
    message = (
        "Unexpected error communicating with Stripe.  If this problem persists, let us know at support@stripe.com.\n\n"
        f"(Network error: {cause})"
    )
    return stripe.APIConnectionError(message, should_retry=True)  # type: ignore[no-untyped-call]  # the SDK has no types here
