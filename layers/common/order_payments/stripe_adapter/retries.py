"""Retries of a call to Stripe: which failures are retried, how often, and after which pause.

The SDK's own retries are turned off. They ignore `Retry-After`, always pause for half a second, and do not report what
the earlier tries met. The outcome of a payment depends on that: a call that met only rate limits charged nothing.
"""

import random
from collections.abc import Callable
from typing import Protocol, TypeVar

import stripe

from order_payments.runtime.clock import Deadline

_T = TypeVar("_T")

STRIPE_CALL_TIMEOUT_SECONDS = 10.0
"""The most that a call takes, its retries included. Stripe takes one to three seconds to confirm a PaymentIntent."""

MINIMUM_CALL_SECONDS = 2.0
"""With less than this left, a call is not started: its outcome would most likely be unknown."""

MINIMUM_RETRY_SECONDS = 0.5

MAXIMUM_TRIES = 2
"""Tries that may end without a response or with a fault of Stripe's."""

MAXIMUM_RATE_LIMITED_TRIES = 4
"""Tries that the rate limit may turn away. Stripe turns them away at once, so they cost little time."""

FIRST_PAUSE_SECONDS = 0.5
"""Each pause is up to twice as long as the one before, less a random half."""

MAXIMUM_RETRY_AFTER_SECONDS = 60


class Transport(Protocol):
    """The HTTP client of the SDK. `timeout` is how long it waits for a response, in seconds."""

    timeout: float


class NoTimeLeft(Exception):
    """Less than `MINIMUM_CALL_SECONDS` was left, so Stripe was not called."""


class EveryTryRateLimited(Exception):
    """Stripe answered every try with its rate limit, so it executed none of them."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("Stripe's rate limit turned away every try")
        self.retry_after_seconds = retry_after_seconds


class Call:
    """One call to Stripe, with its retries.

    `is_in_doubt` is true once a try has ended without a definite response: Stripe may have executed it.
    """

    def __init__(self, transport: Transport, deadline: Deadline, sleep: Callable[[float], None]) -> None:
        self._transport = transport
        self._deadline = deadline.within(STRIPE_CALL_TIMEOUT_SECONDS)
        self._sleep = sleep
        self.is_in_doubt = False

    def run(self, send: Callable[[], _T]) -> _T:
        """Return what `send` returns, and retry it while that can help and time is left.

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
        """Share the time left among the tries, without the pauses between them."""
        self._transport.timeout = (self._deadline.remaining() - (tries - 1) * FIRST_PAUSE_SECONDS) / tries


def is_rate_limit(error: Exception) -> bool:
    """Return whether Stripe turned the request away by its rate limit and did not execute it.

    Its other 429, `lock_timeout`, is met during execution. https://docs.stripe.com/rate-limits
    """
    return isinstance(error, stripe.RateLimitError) and stripe_code(error) == "rate_limit"


def stripe_code(error: Exception) -> str | None:
    """Return Stripe's `code` of an error, which the SDK keeps in two places."""
    code = getattr(error, "code", None) or getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, str) else None


def header(error: stripe.StripeError, name: str) -> str | None:
    """Return a header of the response. Upper and lower case of its name are the same."""
    return {key.lower(): value for key, value in dict(error.headers or {}).items()}.get(name.lower())


def _is_retryable(error: stripe.StripeError) -> bool:
    """Return whether the SDK would retry this. https://docs.stripe.com/error-low-level#idempotency"""
    if isinstance(error, stripe.APIConnectionError):
        return error.should_retry
    advice = header(error, "Stripe-Should-Retry")
    if advice in ("true", "false"):
        return advice == "true"
    return error.http_status is not None and (error.http_status == 409 or error.http_status >= 500)


def _pause_before_retry(error: stripe.StripeError, number: int) -> float:
    """Return the seconds before retry `number`, counted from 1: random, and no shorter than `Retry-After`."""
    longest = FIRST_PAUSE_SECONDS * 2 ** (number - 1)
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load; not a secret
    return _retry_after(error) + pause if _retry_after(error) else pause


def _retry_after(error: stripe.StripeError) -> int:
    """Return the seconds of `Retry-After`; 0 without one that is a number."""
    text = header(error, "Retry-After") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
