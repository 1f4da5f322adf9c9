"""Errors for refused requests, with Stripe's status, type, code, param and message.

Codes: https://docs.stripe.com/error-codes. Statuses and types: https://docs.stripe.com/api/errors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dummy_stripe.responses import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dummy_stripe.objects import Intent


class Refusal(Exception):
    """An error response to a request.

    `status` is the HTTP status, and `intent` the PaymentIntent that the error carries. `should_retry` and
    `rate_limited_reason` are the values of the headers `Stripe-Should-Retry` and `Stripe-Rate-Limited-Reason`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        intent: Intent | None = None,
        should_retry: bool | None = None,
        rate_limited_reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type
        self.code = code
        self.param = param
        self.intent = intent
        self.should_retry = should_retry
        self.rate_limited_reason = rate_limited_reason
        self.reply = Reply.PROMPT


def invalid_key(shown: str | None) -> Refusal:
    if shown is None:
        return Refusal(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer"
            " auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for"
            " details, or we can help at https://support.stripe.com/.",
        )
    return Refusal(401, f"Invalid API Key provided: {shown}")


def unrecognized_url(method: str, path: str) -> Refusal:
    message = f"Unrecognized request URL ({method}: {path})."
    if path.endswith("/"):
        message += (
            " If you are trying to list objects, remove the trailing slash. If you are trying to retrieve an object,"
            " make sure you passed a valid (non-empty) identifier in your code."
        )
    return Refusal(404, f"{message} Please see https://stripe.com/docs or we can help at https://support.stripe.com/.")


def unknown_parameters(names: Iterable[str]) -> Refusal:
    listed = sorted(names)
    plural = "s" if len(listed) > 1 else ""
    return Refusal(
        400, f"Received unknown parameter{plural}: {', '.join(listed)}", code="parameter_unknown", param=listed[0]
    )


def missing_parameter(name: str) -> Refusal:
    return Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def empty_parameter(name: str) -> Refusal:
    message = (
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however"
        f" '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value."
    )
    return Refusal(400, message, code="parameter_invalid_empty", param=name)


def invalid_parameter(name: str, message: str, code: str | None = None) -> Refusal:
    return Refusal(400, message, code=code, param=name)


def exclusive_parameters(first: str, second: str) -> Refusal:
    return invalid_parameter(first, f"You may only specify one of these parameters: {first}, {second}.")


def wrong_type(name: str, wanted: str, given: Mapping[str, str] | None = None) -> Refusal:
    """Return the refusal of a parameter of another type than `wanted`. `given` has the fields of a map."""
    code = "parameter_invalid_integer" if wanted == "integer" else None
    return Refusal(400, f"Invalid {wanted}{f': {_as_ruby(given)}' if given else ''}", code=code, param=name)


def nested_metadata(value: Mapping[str, str]) -> Refusal:
    return Refusal(400, f"Invalid value type: {_as_ruby(value)} must be a string", param="metadata")


def _as_ruby(fields: Mapping[str, str]) -> str:
    """Return a map as Stripe's messages show it: `{:a=>"1", :"0"=>"2"}`."""
    keys = {key: key if key.isidentifier() else f'"{key}"' for key in fields}
    return f"{{{', '.join(f':{keys[key]}=>' + json.dumps(value) for key, value in fields.items())}}}"


def unsupported_content_type(content_type: str) -> Refusal:
    if content_type.startswith("application/json"):
        message = (
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any"
            " questions, we can help at https://support.stripe.com/."
        )
    else:
        message = (
            f"Invalid request: unsupported Content-Type {content_type}. If error persists and you need assistance,"
            " please contact support@stripe.com."
        )
    return Refusal(400, message)


def not_expandable(path: str, *, in_list: bool = False) -> Refusal:
    hint = f" You may want to try expanding 'data.{path}' instead." if in_list else ""
    return Refusal(400, f"This property cannot be expanded ({path}).{hint}")


def no_such_intent(intent_id: str) -> Refusal:
    return Refusal(404, f"No such payment_intent: '{intent_id}'", code="resource_missing", param="intent")


def no_such_cursor(name: str, kind: str, cursor: str) -> Refusal:
    return Refusal(400, f"No such {kind}: '{cursor}'", code="resource_missing", param=name)


def no_such_payment_method(token: str) -> Refusal:
    return Refusal(400, f"No such PaymentMethod: '{token}'", code="resource_missing", param="payment_method")


def no_such_charge(charge_id: str) -> Refusal:
    return Refusal(404, f"No such charge: '{charge_id}'", code="resource_missing", param="id")


def no_such_refund(refund_id: str) -> Refusal:
    return Refusal(404, f"No such refund: '{refund_id}'", code="resource_missing", param="refund")


def unexpected_state(intent: Intent, message: str) -> Refusal:
    return Refusal(400, message, code="payment_intent_unexpected_state", intent=intent)


def nothing_to_refund(intent: Intent) -> Refusal:
    return Refusal(400, f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.")


def already_refunded(charge_id: str) -> Refusal:
    return Refusal(400, f"Charge {charge_id} has already been refunded.", code="charge_already_refunded")


def charge_disputed(charge_id: str) -> Refusal:
    return Refusal(400, f"Charge {charge_id} has been charged back; cannot issue a refund.", code="charge_disputed")


def cannot_cancel_refund(refund_id: str, status: str) -> Refusal:
    # Stripe's documentation gives the rule, but not the text or a code.
    message = f"Refund {refund_id} cannot be canceled: its status is {status}, not requires_action."
    return Refusal(400, message)


def refund_too_large(amount: str, left: str) -> Refusal:
    # Stripe sends no code for this error.
    return invalid_parameter("amount", f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})")


def idempotency_error(message: str) -> Refusal:
    return Refusal(400, message, error_type="idempotency_error")


def idempotency_key_length(length: int) -> Refusal:
    message = (
        f"Idempotent key length is {length} characters long, which is outside accepted lengths. Idempotent Keys must be"
        " 1-255 characters long. If you're looking for a decent generator, try using a UUID defined by IETF RFC 4122."
    )
    return idempotency_error(message)


def idempotency_key_in_use(key: str) -> Refusal:
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted"
        f" twice, and the other request is still going through): {key}. Please try again later."
    )
    return Refusal(409, message, code="idempotency_key_in_use")


def lock_timeout() -> Refusal:
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently"
        " accessing it. If you see this error intermittently, retry the request."
    )
    return Refusal(429, message, code="lock_timeout", should_retry=True)


def rate_limited() -> Refusal:
    # The header: https://docs.stripe.com/rate-limits
    return Refusal(
        429,
        "Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode. You can learn more"
        " about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        rate_limited_reason="global-rate",
    )


def api_error() -> Refusal:
    # Stripe asks not to retry a 500, because it would only replay the saved response (stripe/_http_client.py).
    message = "Sorry! There was an error while talking to one of our backends. Support has been notified."
    return Refusal(500, message, error_type="api_error", should_retry=False)
