"""Retries of a call to Stripe: which failures are retried, how often, and after which pause.

The SDK's own retries are turned off. They ignore `Retry-After`, always pause for half a second, and do not report how
the earlier tries failed. The outcome of a payment depends on that: if every try was rate limited, nothing was charged.
"""

import random
from collections.abc import Callable
from typing import Protocol, TypeVar

import stripe

from order_payments.runtime.clock import Deadline

_T = TypeVar("_T")

STRIPE_CALL_TIMEOUT_SECONDS = 10.0
"""Limit for a call with its retries. Stripe takes one to three seconds to confirm a PaymentIntent."""

MINIMUM_CALL_SECONDS = 2.0
"""With less time left, a call is not started, because its outcome would most likely be unknown."""

MINIMUM_RETRY_SECONDS = 0.5

MAXIMUM_TRIES = 2
"""Tries of a call that end without a response or with a server error."""

MAXIMUM_RATE_LIMITED_TRIES = 4
"""Tries of a call that are rate limited. Stripe rejects them at once, so they take little time."""

FIRST_PAUSE_SECONDS = 0.5
"""Upper bound of the first pause. It doubles with each retry; a pause is between half of it and all of it."""

MAXIMUM_RETRY_AFTER_SECONDS = 60


class Transport(Protocol):
    """The HTTP client of the SDK. `timeout` is its read timeout in seconds."""

    timeout: float


class NoTimeLeft(Exception):
    """Less than `MINIMUM_CALL_SECONDS` was left, so Stripe was not called."""


class EveryTryRateLimited(Exception):
    """Every try was rate limited, so Stripe executed none of them."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("every try was rate limited")
        self.retry_after_seconds = retry_after_seconds


class Call:
    """One call to Stripe, with its retries.

    `is_in_doubt` is true once a try has ended without a definite response. Stripe may have executed that try.
    """

    def __init__(self, transport: Transport, deadline: Deadline, sleep: Callable[[float], None]) -> None:
        self._transport = transport
        self._deadline = deadline.within(STRIPE_CALL_TIMEOUT_SECONDS)
        self._sleep = sleep
        self.is_in_doubt = False

    def run(self, send: Callable[[], _T]) -> _T:
        """Call `send` and return its result. Retry it if the failure is retryable and time is left.

        Raises `NoTimeLeft`, `EveryTryRateLimited`, or the SDK's error of the last try.
        """
        if self._deadline.remaining() < MINIMUM_CALL_SECONDS:
            raise NoTimeLeft
        failed = rate_limited = 0
        while True:
            self._share_time(MAXIMUM_TRIES - failed)
            try:
                return send()
            except stripe.StripeError as error:
                if is_rate_limit(error):
                    rate_limited += 1
                elif _is_retryable(error):
                    failed += 1
                    self.is_in_doubt = True
                else:
                    raise
                pause = _pause_before_retry(error, failed + rate_limited)
                if (
                    failed == MAXIMUM_TRIES
                    or rate_limited == MAXIMUM_RATE_LIMITED_TRIES
                    or self._deadline.remaining() - pause < MINIMUM_RETRY_SECONDS
                ):
                    if failed:
                        raise
                    raise EveryTryRateLimited(max(1, min(_retry_after(error), MAXIMUM_RETRY_AFTER_SECONDS))) from error
            self._sleep(pause)

    def _share_time(self, tries: int) -> None:
        """Set the timeout of the next try to its share of the time left, pauses excluded."""
        self._transport.timeout = (self._deadline.remaining() - (tries - 1) * FIRST_PAUSE_SECONDS) / tries


def is_rate_limit(error: Exception) -> bool:
    """Return whether the request was rate limited, so that Stripe did not execute it.

    Stripe's other 429, `lock_timeout`, occurs during execution. https://docs.stripe.com/rate-limits
    """
    return isinstance(error, stripe.RateLimitError) and stripe_code(error) == "rate_limit"


def stripe_code(error: Exception) -> str | None:
    """Return the `code` of a Stripe error. The SDK stores it in one of two places."""
    code = getattr(error, "code", None) or getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, str) else None


def header(error: stripe.StripeError, name: str) -> str | None:
    """Return a response header by its case-insensitive name."""
    return {key.lower(): value for key, value in dict(error.headers or {}).items()}.get(name.lower())


def _is_retryable(error: stripe.StripeError) -> bool:
    """Return whether the SDK would retry the error. https://docs.stripe.com/error-low-level#idempotency"""
    if isinstance(error, stripe.APIConnectionError):
        return error.should_retry
    advice = header(error, "Stripe-Should-Retry")
    if advice in ("true", "false"):
        return advice == "true"
    return error.http_status is not None and (error.http_status == 409 or error.http_status >= 500)


def _pause_before_retry(error: stripe.StripeError, number: int) -> float:
    """Return the seconds to wait before retry `number`, from 1. They are random, and at least `Retry-After`."""
    longest = FIRST_PAUSE_SECONDS * 2 ** (number - 1)
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load; not a secret
    return _retry_after(error) + pause if _retry_after(error) else pause


def _retry_after(error: stripe.StripeError) -> int:
    """Return the seconds of `Retry-After`; 0 if it is missing or not a number."""
    text = header(error, "Retry-After") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
