"""The parameters of a request: Stripe's form encoding decoded, checked and typed.

Encoding: https://docs.stripe.com/api, form-encoded with brackets (`metadata[orderId]=1`, `expand[0]=latest_charge`).
Parameters: https://docs.stripe.com/api/payment_intents and https://docs.stripe.com/api/refunds. A request that this
module refuses is not stored.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import parse_qsl

from dummy_stripe import currencies, refusals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_CONFIRM_PARAMS = frozenset(
    "payment_method capture_method receipt_email return_url off_session error_on_requires_action use_stripe_sdk "
    "expand".split()
)
_CREATE_PARAMS = _CONFIRM_PARAMS | frozenset(
    "amount currency metadata description payment_method_types allowed_payment_method_types automatic_payment_methods "
    "confirm confirmation_method statement_descriptor_suffix".split()
)
_ONLY_WHEN_CONFIRMING = ("return_url", "off_session", "error_on_requires_action")
_CAPTURE_METHODS = ("automatic", "automatic_async")
_CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
_REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")
_METADATA_KEYS, _METADATA_KEY_LENGTH, _METADATA_VALUE_LENGTH = 50, 40, 500
_DEFAULT_PAGE, _LARGEST_PAGE = 10, 100

EXPANDABLE: Final = frozenset({"latest_charge", "payment_method"})
EXPANDABLE_OF_REFUNDS: Final = frozenset({"charge", "payment_intent"})
NO_EXPANSION: Final[frozenset[str]] = frozenset()


class ConfirmParams(NamedTuple):
    """POST /v1/payment_intents/:id/confirm."""

    payment_method: str | None
    capture_method: str | None
    receipt_email: str | None
    return_url: str | None
    off_session: bool
    error_on_requires_action: bool
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(_CONFIRM_PARAMS)
        return cls._read(form)

    @classmethod
    def _read(cls, form: Form) -> Self:
        form.boolean("use_stripe_sdk")
        return cls(
            payment_method=form.text("payment_method", can_be_unset=False),
            capture_method=form.choice("capture_method", _CAPTURE_METHODS),
            receipt_email=form.text("receipt_email"),
            return_url=form.text("return_url"),
            # Stripe also accepts `one_off` and `recurring`, which both mean true.
            off_session=form.values.get("off_session") in {"one_off", "recurring"}
            or form.boolean("off_session") is True,
            error_on_requires_action=form.boolean("error_on_requires_action") is True,
            expand=form.expansion(EXPANDABLE),
        )


class CreateParams(NamedTuple):
    """POST /v1/payment_intents. `confirm` is set if the intent is confirmed at once.

    `allow_redirects` is `always` or `never` with automatic payment methods, otherwise None.
    """

    amount: int
    currency: str
    metadata: dict[str, str]
    description: str | None
    payment_method: str | None
    payment_method_types: tuple[str, ...]
    allow_redirects: str | None
    capture_method: str
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    confirm: ConfirmParams | None
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(_CREATE_PARAMS)
        for name in ("amount", "currency"):
            form.required(name)
        currency = _currency(form)
        types, allow_redirects = _payment_method_types(form)
        form.choice("confirmation_method", ("automatic", "manual"))
        is_confirmed = form.boolean("confirm") is True
        for name in _ONLY_WHEN_CONFIRMING:
            if name in form.values and not is_confirmed:
                message = f"The parameter {name} cannot be passed when creating a PaymentIntent unless confirm is true."
                raise refusals.invalid_parameter(name, message)
        confirm = ConfirmParams._read(form)
        return cls(
            amount=_amount(form, currency),
            currency=currency,
            metadata=_metadata(form),
            description=form.text("description"),
            payment_method=confirm.payment_method,
            payment_method_types=types,
            allow_redirects=allow_redirects,
            capture_method=confirm.capture_method or "automatic_async",
            receipt_email=confirm.receipt_email,
            statement_descriptor_suffix=form.text("statement_descriptor_suffix"),
            confirm=confirm if is_confirmed else None,
            expand=confirm.expand,
        )


class CancelParams(NamedTuple):
    """POST /v1/payment_intents/:id/cancel."""

    cancellation_reason: str | None
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        return cls(form.choice("cancellation_reason", _CANCELLATION_REASONS), form.expansion(EXPANDABLE))


class ListParams(NamedTuple):
    """GET /v1/payment_intents: a page of `limit` objects after or before a cursor, which is an object's id.

    `created` has the Unix seconds in which the objects were created.
    """

    limit: int
    created: range
    starting_after: str | None
    ending_before: str | None
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        return cls._read(form, EXPANDABLE)

    @classmethod
    def _read(cls, form: Form, expandable: Collection[str]) -> Self:
        limit = form.integer("limit")
        if limit is not None and limit > _LARGEST_PAGE:
            message = f"This value must be less than or equal to {_LARGEST_PAGE}."
            raise refusals.invalid_parameter("limit", message, "parameter_invalid_integer")
        after, before = form.text("starting_after"), form.text("ending_before")
        if after is not None and before is not None:
            message = "You may only specify one of these parameters: starting_after, ending_before."
            raise refusals.invalid_parameter("starting_after", message)
        return cls(
            limit=_DEFAULT_PAGE if limit is None else limit,
            created=_created(form),
            starting_after=after,
            ending_before=before,
            expand=form.expansion(expandable, "data."),
        )


class RefundParams(NamedTuple):
    """POST /v1/refunds. One of `charge` and `payment_intent` is set. An `amount` of None refunds all that is left."""

    charge: str | None
    payment_intent: str | None
    amount: int | None
    reason: str | None
    metadata: dict[str, str]
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        charge = form.text("charge", can_be_unset=False)
        intent = form.text("payment_intent", can_be_unset=False)
        if charge is None and intent is None:
            message = "One of the following params should be provided for this request: payment_intent or charge."
            raise refusals.Refusal(400, message)
        if charge is not None and intent is not None:
            message = "You may only specify one of these parameters: charge, payment_intent."
            raise refusals.invalid_parameter("charge", message)
        return cls(
            charge=charge,
            payment_intent=intent,
            amount=form.integer("amount"),
            reason=form.choice("reason", _REFUND_REASONS),
            metadata=_metadata(form),
            expand=form.expansion(EXPANDABLE_OF_REFUNDS),
        )


class RefundUpdateParams(NamedTuple):
    """POST /v1/refunds/:id. `metadata` has the changed keys; an empty value deletes a key. None deletes all keys."""

    metadata: dict[str, str] | None
    expand: frozenset[str]

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        metadata = None if form.values.get("metadata") == "" else form.nested("metadata")
        return cls(metadata, form.expansion(EXPANDABLE_OF_REFUNDS))


class RefundListParams(NamedTuple):
    """GET /v1/refunds: a page of all refunds, or of one charge's or one intent's."""

    charge: str | None
    payment_intent: str | None
    page: ListParams

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown({*ListParams._fields, "charge", "payment_intent"})
        return cls(form.text("charge"), form.text("payment_intent"), ListParams._read(form, EXPANDABLE_OF_REFUNDS))


class Form:
    """Decoded fields of a body or a query, by full name (`metadata[orderId]`)."""

    def __init__(self, encoded: str) -> None:
        self.values: dict[str, str] = {}
        for place, (name, value) in enumerate(parse_qsl(encoded, keep_blank_values=True)):
            # `expand[]=a&expand[]=b` is a list without its indexes.
            self.values[f"{name[:-1]}{place}]" if name.endswith("[]") else name] = value

    def refuse_unknown(self, known: Collection[str]) -> None:
        if unknown := {name.partition("[")[0] for name in self.values} - set(known):
            raise refusals.unknown_parameters(unknown)

    def required(self, name: str) -> str:
        if name not in self.values:
            raise refusals.missing_parameter(name)
        if not self.values[name]:
            raise refusals.empty_parameter(name)
        return self.values[name]

    def text(self, name: str, *, can_be_unset: bool = True) -> str | None:
        value = self.values.get(name)
        if value == "" and not can_be_unset:
            raise refusals.empty_parameter(name)
        return value or None

    def integer(self, name: str, *, can_be_zero: bool = False) -> int | None:
        value = self.text(name, can_be_unset=False)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise refusals.invalid_parameter(name, f"Invalid integer: {value}", "parameter_invalid_integer")
        if value.startswith("-") or not (can_be_zero or digits.strip("0")):
            message = f"This value must be greater than or equal to {0 if can_be_zero else 1}."
            raise refusals.invalid_parameter(name, message, "parameter_invalid_integer")
        # 20 digits exceed every limit, so a longer number is "too large", too.
        return int(digits.lstrip("0")[:20] or "0")

    def boolean(self, name: str) -> bool | None:
        value = self.text(name)
        if value is None:
            return None
        if value not in {"true", "false"}:
            raise refusals.invalid_parameter(name, f"Invalid boolean: {value}")
        return value == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value is not None and value not in choices:
            allowed = f"{', '.join(choices[:-1])}{',' if len(choices) > 2 else ''} or {choices[-1]}"
            raise refusals.invalid_parameter(name, f"Invalid {name}: must be one of {allowed}")
        return value

    def nested(self, name: str) -> dict[str, str]:
        """Return the fields of a map by key, or of a list by index."""
        prefix = f"{name}["
        return {
            key.removeprefix(prefix).removesuffix("]"): value
            for key, value in self.values.items()
            if key.startswith(prefix)
        }

    def only_expansion(self, expandable: Collection[str]) -> frozenset[str]:
        """Return the `expand` of a call that takes no other parameter."""
        self.refuse_unknown({"expand"})
        return self.expansion(expandable)

    def expansion(self, expandable: Collection[str], prefix: str = "") -> frozenset[str]:
        """Return the fields to expand to objects. In a list their names begin with `prefix`."""
        names = self.nested("expand").values()
        for name in names:
            if name.removeprefix(prefix) not in expandable or not name.startswith(prefix):
                raise refusals.invalid_parameter("expand", f"This property cannot be expanded ({name}).")
        return frozenset(name.removeprefix(prefix) for name in names)


def _currency(form: Form) -> str:
    given = form.required("currency")
    currency = given.lower()
    if currency not in currencies.CURRENCIES:
        supported = ", ".join(sorted(currencies.CURRENCIES))
        message = f"Invalid currency: {given}. Stripe currently supports these currencies: {supported}"
        raise refusals.invalid_parameter("currency", message)
    return currency


def _amount(form: Form, currency: str) -> int:
    amount = form.integer("amount")
    if amount is None:
        raise refusals.missing_parameter("amount")
    currencies.refuse_charge(amount, currency)
    return amount


def _metadata(form: Form) -> dict[str, str]:
    # In Stripe's API, an empty value removes the key.
    metadata = {key: value for key, value in form.nested("metadata").items() if value}
    refuse_metadata(metadata)
    return metadata


def refuse_metadata(metadata: Mapping[str, str]) -> None:
    """Raise `Refusal` for too many keys, or for a key or value that is too long."""
    if len(metadata) > _METADATA_KEYS:
        raise refusals.invalid_parameter("metadata", f"Metadata can have up to {_METADATA_KEYS} keys.")
    for key, value in metadata.items():
        if len(key) > _METADATA_KEY_LENGTH:
            message = f"Metadata keys can have up to {_METADATA_KEY_LENGTH} characters, but you passed in {len(key)}."
            raise refusals.invalid_parameter("metadata", message)
        if len(value) > _METADATA_VALUE_LENGTH:
            message = f"Metadata values can have up to {_METADATA_VALUE_LENGTH} characters, but {key} has {len(value)}."
            raise refusals.invalid_parameter("metadata", message)


def _created(form: Form) -> range:
    """Return the Unix seconds that `created` selects: one second, or those between its limits."""
    exact = form.integer("created", can_be_zero=True) if "created" in form.values else None
    if exact is not None:
        return range(exact, exact + 1)
    limits = form.nested("created").keys()
    if unknown := limits - {"gt", "gte", "lt", "lte"}:
        raise refusals.unknown_parameters(f"created[{name}]" for name in unknown)
    seconds = {name: form.integer(f"created[{name}]", can_be_zero=True) or 0 for name in limits}
    first = max(seconds.get("gte", 0), seconds.get("gt", -1) + 1)
    end = min(seconds.get("lt", sys.maxsize), seconds.get("lte", sys.maxsize - 1) + 1)
    return range(first, end)


def _limits_payment_method_types(form: Form) -> bool:
    """Return whether the request limits the payment method types. Stripe drops types that do not fit the payment.

    https://docs.stripe.com/changelog/dahlia/2026-07-29/allowed-payment-method-types-parameter
    """
    allowed = tuple(form.nested("allowed_payment_method_types").values())
    for other in ("payment_method_types", "automatic_payment_methods"):
        if allowed and form.nested(other):
            message = f"You may only specify one of these parameters: allowed_payment_method_types, {other}."
            raise refusals.invalid_parameter("allowed_payment_method_types", message)
    if allowed and "card" not in allowed:
        message = "None of the payment method types fits this payment: the dummy Stripe takes cards only."
        raise refusals.invalid_parameter("allowed_payment_method_types", message, "payment_intent_invalid_parameter")
    return bool(allowed)


def _payment_method_types(form: Form) -> tuple[tuple[str, ...], str | None]:
    """Return the payment method types, and `allow_redirects` of automatic ones; None if types were named."""
    if _limits_payment_method_types(form):
        return ("card",), None
    automatic = form.nested("automatic_payment_methods")
    if unknown := automatic.keys() - {"enabled", "allow_redirects"}:
        raise refusals.unknown_parameters(f"automatic_payment_methods[{name}]" for name in unknown)
    enabled = form.boolean("automatic_payment_methods[enabled]")
    redirects = form.choice("automatic_payment_methods[allow_redirects]", ("always", "never"))
    if automatic and enabled is None:
        raise refusals.missing_parameter("automatic_payment_methods[enabled]")
    types = tuple(form.nested("payment_method_types").values())
    if types and enabled:
        message = "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
        raise refusals.invalid_parameter("automatic_payment_methods", message)
    for name in types:
        if name != "card":
            message = f'The payment method type "{name}" is invalid: the dummy Stripe takes cards only.'
            raise refusals.invalid_parameter("payment_method_types", message, "payment_intent_invalid_parameter")
    if types or enabled is False:
        return ("card",), None
    # Stripe's default is automatic payment methods with redirects.
    return ("card",), redirects or "always"
