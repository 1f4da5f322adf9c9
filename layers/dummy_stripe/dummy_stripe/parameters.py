"""The parameters of a request: Stripe's form encoding decoded, checked and typed.

Encoding: https://docs.stripe.com/api, form-encoded with brackets (`metadata[orderId]=1`, `expand[0]=latest_charge`).
Parameters: https://docs.stripe.com/api/payment_intents and https://docs.stripe.com/api/refunds. A request that this
module refuses is not stored.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qsl

from dummy_stripe import currencies, refusals
from dummy_stripe.expansions import read_expansion

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dummy_stripe.expansions import Expansion

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

_CONFIRMATION_METHODS = ("automatic", "manual")
_DESCRIPTOR_LENGTH = 22
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]\S*")


class ConfirmParams(NamedTuple):
    """POST /v1/payment_intents/:id/confirm."""

    payment_method: str | None
    capture_method: str | None
    receipt_email: str | None
    return_url: str | None
    off_session: bool
    error_on_requires_action: bool
    expand: Expansion

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
            receipt_email=form.email("receipt_email"),
            return_url=form.url("return_url"),
            # Stripe also accepts `one_off` and `recurring`, which both mean true.
            off_session=form.values.get("off_session") in {"one_off", "recurring"}
            or form.boolean("off_session") is True,
            error_on_requires_action=form.boolean("error_on_requires_action") is True,
            expand=form.expansion("payment_intent"),
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
    confirmation_method: str
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    confirm: ConfirmParams | None
    expand: Expansion

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(_CREATE_PARAMS)
        form.required("amount", "integer")
        form.required("currency")
        currency = _currency(form)
        types, allow_redirects = _payment_method_types(form)
        is_confirmed = form.boolean("confirm") is True
        for name in _ONLY_WHEN_CONFIRMING:
            if name in form.values and not is_confirmed:
                message = (
                    f"The parameter `{name}` cannot be passed when creating a PaymentIntent unless `confirm` is set to"
                    " true."
                )
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
            confirmation_method=form.choice("confirmation_method", _CONFIRMATION_METHODS) or "automatic",
            receipt_email=confirm.receipt_email,
            statement_descriptor_suffix=form.descriptor("statement_descriptor_suffix"),
            confirm=confirm if is_confirmed else None,
            expand=confirm.expand,
        )


class CancelParams(NamedTuple):
    """POST /v1/payment_intents/:id/cancel."""

    cancellation_reason: str | None
    expand: Expansion

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        return cls(form.choice("cancellation_reason", _CANCELLATION_REASONS), form.expansion("payment_intent"))


class ListParams(NamedTuple):
    """GET /v1/payment_intents: a page of `limit` objects after or before a cursor, which is an object's id.

    `created` has the Unix seconds in which the objects were created.
    """

    limit: int
    created: range
    starting_after: str | None
    ending_before: str | None
    expand: Expansion

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        return cls._read(form, "payment_intent")

    @classmethod
    def _read(cls, form: Form, kind: str) -> Self:
        limit = form.integer("limit")
        if limit is not None and limit > _LARGEST_PAGE:
            message = f"This value must be less than or equal to {_LARGEST_PAGE}."
            raise refusals.invalid_parameter("limit", message, "parameter_invalid_integer")
        after, before = form.text("starting_after"), form.text("ending_before")
        if after is not None and before is not None:
            raise refusals.exclusive_parameters("starting_after", "ending_before")
        return cls(
            limit=_DEFAULT_PAGE if limit is None else limit,
            created=_created(form),
            starting_after=after,
            ending_before=before,
            expand=form.expansion(kind, in_list=True),
        )


class RefundParams(NamedTuple):
    """POST /v1/refunds. One of `charge` and `payment_intent` is set. An `amount` of None refunds all that is left."""

    charge: str | None
    payment_intent: str | None
    amount: int | None
    reason: str | None
    metadata: dict[str, str]
    expand: Expansion

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        charge = form.text("charge", can_be_unset=False)
        intent = form.text("payment_intent", can_be_unset=False)
        if charge is None and intent is None:
            message = "One of the following params should be provided for this request: payment_intent or charge."
            raise refusals.Refusal(400, message)
        if charge is not None and intent is not None:
            raise refusals.exclusive_parameters("charge", "payment_intent")
        return cls(
            charge=charge,
            payment_intent=intent,
            amount=form.integer("amount"),
            reason=form.choice("reason", _REFUND_REASONS),
            metadata=_metadata(form),
            expand=form.expansion("refund"),
        )


class RefundUpdateParams(NamedTuple):
    """POST /v1/refunds/:id. `metadata` has the changed keys; an empty value deletes a key. None deletes all keys."""

    metadata: dict[str, str] | None
    expand: Expansion

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown(cls._fields)
        metadata = None if form.values.get("metadata") == "" else form.map("metadata")
        return cls(metadata, form.expansion("refund"))


class RefundListParams(NamedTuple):
    """GET /v1/refunds: a page of all refunds, or of one charge's or one intent's."""

    charge: str | None
    payment_intent: str | None
    page: ListParams

    @classmethod
    def read(cls, form: Form) -> Self:
        form.refuse_unknown({*ListParams._fields, "charge", "payment_intent"})
        return cls(form.text("charge"), form.text("payment_intent"), ListParams._read(form, "refund"))


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

    def required(self, name: str, kind: str = "string") -> str:
        self._refuse_map(name, kind)
        if name not in self.values:
            raise refusals.missing_parameter(name)
        if not self.values[name]:
            raise refusals.empty_parameter(name)
        return self.values[name]

    def text(self, name: str, *, can_be_unset: bool = True, kind: str = "string") -> str | None:
        """Return a value of the type `kind` as text; None if it is absent or empty."""
        self._refuse_map(name, kind)
        value = self.values.get(name)
        if value == "" and not can_be_unset:
            raise refusals.empty_parameter(name)
        return value or None

    def integer(self, name: str, *, can_be_zero: bool = False) -> int | None:
        value = self.text(name, can_be_unset=False, kind="integer")
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
        value = self.text(name, kind="boolean")
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

    def email(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _EMAIL.fullmatch(value):
            raise refusals.invalid_parameter(name, f"Invalid email address: {value}", "email_invalid")
        return value

    def url(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _URL.fullmatch(value):
            raise refusals.invalid_parameter(name, "Not a valid URL", "url_invalid")
        return value

    def descriptor(self, name: str) -> str | None:
        """Return a text for the card's statement. Rules: https://docs.stripe.com/get-started/account/statement-descriptors"""
        value = self.text(name)
        if value is None:
            return None
        if len(value) > _DESCRIPTOR_LENGTH:
            message = (
                f"The statement descriptor must be at most {_DESCRIPTOR_LENGTH} characters. {value} is {len(value)}"
                " characters long."
            )
            raise refusals.invalid_parameter(name, message)
        if not re.search("[A-Za-z]", value):
            message = "The statement descriptor must contain at least one Latin character."
            raise refusals.invalid_parameter(name, message)
        if re.search("[<>\\\\'\"*]", value):
            message = "The statement descriptor cannot contain the characters <, >, \\, ', \" or *."
            raise refusals.invalid_parameter(name, message, "invalid_characters")
        return value

    def map(self, name: str) -> dict[str, str]:
        """Return the fields of a map by key. The key of a nested value has brackets of its own: `a][b`."""
        if self.values.get(name):
            raise refusals.wrong_type(name, "object")
        return self._nested(name)

    def array(self, name: str) -> tuple[str, ...]:
        if self.values.get(name):
            raise refusals.wrong_type(name, "array")
        items = self._nested(name)
        for key in items:
            if not key.isdigit():
                self._refuse_map(f"{name}[{key.partition(']')[0]}]", "string")
                raise refusals.wrong_type(name, "array")
        return tuple(items.values())

    def only_expansion(self, kind: str) -> Expansion:
        """Return the `expand` of a call that takes no other parameter."""
        self.refuse_unknown({"expand"})
        return self.expansion(kind)

    def expansion(self, kind: str, *, in_list: bool = False) -> Expansion:
        """Return what to expand in a response of an object `kind`, or of a list of them."""
        return read_expansion(self.array("expand"), kind, in_list=in_list)

    def _nested(self, name: str) -> dict[str, str]:
        nested = _nested(self.values, f"{name}[")
        return {key.removesuffix("]"): value for key, value in nested.items()}

    def _refuse_map(self, name: str, wanted: str) -> None:
        if given := self._nested(name):
            raise refusals.wrong_type(name, wanted, given)


def _nested(values: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


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
    metadata = {key: value for key, value in form.map("metadata").items() if value}
    refuse_metadata(metadata)
    return metadata


def refuse_metadata(metadata: Mapping[str, str]) -> None:
    """Raise `Refusal` for a nested value, too many keys, or a key or value that is too long."""
    for key, value in metadata.items():
        if "][" in key:
            raise refusals.nested_metadata(_nested(metadata, f"{key.partition('][')[0]}]["))
        if len(key) > _METADATA_KEY_LENGTH:
            message = (
                f"Metadata keys can have up to {_METADATA_KEY_LENGTH} characters, but you passed in a key that is"
                f" {len(key)} characters. Invalid key: {key}"
            )
            raise refusals.Refusal(400, message)
        if len(value) > _METADATA_VALUE_LENGTH:
            message = (
                f"Metadata values can have up to {_METADATA_VALUE_LENGTH} characters, but you passed in a value that is"
                f" {len(value)} characters. Invalid value: {value}"
            )
            raise refusals.Refusal(400, message)
    if len(metadata) > _METADATA_KEYS:
        raise refusals.invalid_parameter("metadata", f"Metadata can have up to {_METADATA_KEYS} keys.")


def _created(form: Form) -> range:
    """Return the Unix seconds that `created` selects: one second, or those between its limits."""
    exact = form.integer("created", can_be_zero=True) if "created" in form.values else None
    if exact is not None:
        return range(exact, exact + 1)
    limits = form.map("created").keys()
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
    allowed = form.array("allowed_payment_method_types")
    others = {
        "payment_method_types": form.array("payment_method_types"),
        "automatic_payment_methods": form.map("automatic_payment_methods"),
    }
    for other, given in others.items():
        if allowed and given:
            raise refusals.exclusive_parameters("allowed_payment_method_types", other)
    if allowed and "card" not in allowed:
        message = "None of the payment method types fits this payment: the dummy Stripe takes cards only."
        raise refusals.invalid_parameter("allowed_payment_method_types", message, "payment_intent_invalid_parameter")
    return bool(allowed)


def _payment_method_types(form: Form) -> tuple[tuple[str, ...], str | None]:
    """Return the payment method types, and `allow_redirects` of automatic ones; None if types were named."""
    if _limits_payment_method_types(form):
        return ("card",), None
    automatic = form.map("automatic_payment_methods")
    if unknown := automatic.keys() - {"enabled", "allow_redirects"}:
        raise refusals.unknown_parameters(f"automatic_payment_methods[{name}]" for name in unknown)
    enabled = form.boolean("automatic_payment_methods[enabled]")
    redirects = form.choice("automatic_payment_methods[allow_redirects]", ("always", "never"))
    if automatic and enabled is None:
        raise refusals.missing_parameter("automatic_payment_methods[enabled]")
    types = form.array("payment_method_types")
    if types and enabled:
        raise refusals.exclusive_parameters("automatic_payment_methods", "payment_method_types")
    if enabled and form.text("confirmation_method"):
        raise refusals.exclusive_parameters("automatic_payment_methods", "confirmation_method")
    for name in types:
        if name != "card":
            message = (
                f"The payment method type provided: {name} is invalid. Please ensure the provided type is activated in"
                " your dashboard (https://dashboard.stripe.com/account/payments/settings) and your account is enabled"
                " for any preview features that you are trying to use."
            )
            raise refusals.invalid_parameter("payment_method_types", message, "payment_intent_invalid_parameter")
    if types or enabled is False:
        return ("card",), None
    # Stripe's default is automatic payment methods with redirects.
    return ("card",), redirects or "always"
