"""Stripe behind our words: the real SDK goes in, outcomes of ours come out, and no error of the SDK leaves here.

A PaymentIntent can be confirmed or cancelled, never both, so `cancel` doubles as the question "was it paid?".
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import stripe

from order_payments.clock import Deadline
from order_payments.errors import PaymentInProgress, PaymentProviderError
from order_payments.observability import Latency, logger, timed
from order_payments.orders import Order, Reason
from order_payments.settings import StripeBackend, StripeSettings
from order_payments.stripe_outcomes import (
    Cancelled,
    Closed,
    Confirmation,
    Declined,
    Fence,
    IntentSummary,
    NoIntent,
    NotStarted,
    Open,
    Paid,
    Refunded,
    Refused,
    State,
    Unknown,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from stripe.params import PaymentIntentListParams

    from order_payments.stripe_secrets import StripeSecrets

_T = TypeVar("_T")

LONGEST_CALL_SECONDS = 10.0
"""What one call may take, its SDK retries included; Stripe answers a confirmation in one to three."""

SHORTEST_CALL_SECONDS = 2.0
"""With less than this left, a call is not started: it could only end in doubt."""

SDK_RETRIES = 1
_LONGEST_SDK_PAUSE_SECONDS = 0.5


class IntentStatus(StrEnum):
    """The statuses of a PaymentIntent that we act on. https://docs.stripe.com/api/payment_intents/object"""

    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    REQUIRES_ACTION = "requires_action"


_REFUNDS_THAT_FAILED = frozenset({"failed", "canceled", "requires_action"})
"""Of a refund's statuses, those in which no money goes back. https://docs.stripe.com/api/refunds/object"""

LONGEST_TEXT = 500
"""Characters of a text of Stripe's that we keep: an order has to fit into an item."""


class _NoTimeLeft(Exception):
    """Less than `SHORTEST_CALL_SECONDS` is left."""


class Transport(Protocol):
    """What carries the SDK's requests.

    `timeout` is how long it waits for an answer, in seconds; `requests_sent` how many requests it has sent.
    """

    timeout: float
    requests_sent: int


class StripeGateway:
    """Calls Stripe about the PaymentIntent of an order."""

    def __init__(
        self, client: stripe.StripeClient, transport: Transport, secrets: "StripeSecrets | None" = None
    ) -> None:
        """`secrets` has the key, where that is not the client's for good."""
        self._client = client
        self._transport = transport
        self.secrets = secrets

    def create_intent(self, order: Order, *, deadline: Deadline) -> str:
        """Create the order's PaymentIntent, unconfirmed, and return its id. Creating it again returns the same one.

        Raises `PaymentInProgress` while somebody else creates it, and `PaymentProviderError` for whatever else goes
        wrong: an intent that nobody confirms charges nothing.
        """
        try:
            self._allow_time(deadline)
            with timed(Latency.STRIPE_CREATE):
                try:
                    intent = self._create(order, f"create-{order.order_id}", deadline)
                except stripe.APIError as error:
                    if not _is_replay(error):
                        raise
                    # Stripe keeps the answer to a key for a day, also where it was a fault of its own.
                    intent = self._create(order, f"create-{order.order_id}-{uuid.uuid4().hex}", deadline)
            intent_id = intent.id if _is_for(intent, order) else None
        except _NoTimeLeft:
            raise PaymentProviderError("The payment provider was not asked in time.", order=order) from None
        except Exception as error:
            _log("create", error)
            if getattr(error, "http_status", None) == HTTPStatus.CONFLICT:
                raise PaymentInProgress("Another payment of this order is being started.", order=order) from error
            raise PaymentProviderError("The payment provider did not accept the payment.", order=order) from error
        if not isinstance(intent_id, str):
            logger.error("stripe answered with an intent that does not match the order")
            raise PaymentProviderError("The payment provider did not accept the payment.", order=order)
        return intent_id

    def _create(self, order: Order, idempotency_key: str, deadline: Deadline) -> stripe.PaymentIntent:
        return self._repeated_with_another_key(
            lambda options: self._client.v1.payment_intents.create(
                {
                    "amount": order.total_amount,
                    "currency": order.currency,
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "metadata": {"orderId": order.order_id, "buyerId": order.buyer_id},
                },
                {**options, "idempotency_key": idempotency_key},
            ),
            deadline,
        )

    def confirm(self, order: Order, *, deadline: Deadline) -> Confirmation:
        """Charge the order's attempt. The attempt's id is the idempotency key, so that it charges once."""
        attempt = order.attempt_in_flight()
        sent_before = self._transport.requests_sent
        try:
            self._allow_time(deadline)
            with timed(Latency.STRIPE_CONFIRM):
                intent = self._client.v1.payment_intents.confirm(
                    attempt.payment_intent_id,
                    {"payment_method": attempt.payment_method_id},
                    {**self._options(), "idempotency_key": attempt.attempt_id},
                )
            return _confirmation(intent, order)
        except _NoTimeLeft:
            return NotStarted()
        except stripe.CardError as error:
            return Declined(_decline_reason(error))
        except (stripe.InvalidRequestError, stripe.AuthenticationError, stripe.PermissionError) as error:
            _log("confirm", error)
            if error.code == "payment_intent_unexpected_state":
                return Closed()
            if self._transport.requests_sent - sent_before > 1:
                # An earlier try, whose reply was lost, may still be under way at Stripe.
                return Unknown()
            return Refused(payment_method_at_fault=getattr(error, "param", None) == "payment_method")
        except Exception as error:  # noqa: BLE001 - a garbled answer breaks the SDK in ways that it does not name
            _log("confirm", error)
            return Unknown()

    def cancel(self, order: Order, intent_id: str, *, deadline: Deadline) -> Fence:
        """Cancel the intent, or learn that it was paid: whoever comes later finds it the same way."""
        try:
            self._allow_time(deadline)
            with timed(Latency.STRIPE_CANCEL):
                intent = self._repeated_with_another_key(
                    lambda options: self._client.v1.payment_intents.cancel(intent_id, options=options), deadline
                )
            return _fence(intent, order)
        except _NoTimeLeft:
            return Unknown()
        except stripe.InvalidRequestError as error:
            if error.code != "payment_intent_unexpected_state":
                _log("cancel", error)
                return Unknown()
            state = self.state_of(order, intent_id, deadline=deadline)
            return Unknown() if isinstance(state, Open | NoIntent) else state
        except Exception as error:  # noqa: BLE001 - a garbled answer breaks the SDK in ways that it does not name
            _log("cancel", error)
            return Unknown()

    def state_of(self, order: Order, intent_id: str, *, deadline: Deadline) -> State:
        """What the intent has become, without touching it."""
        try:
            self._allow_time(deadline)
            with timed(Latency.STRIPE_RETRIEVE):
                intent = self._repeated_with_another_key(
                    lambda options: self._client.v1.payment_intents.retrieve(intent_id, options=options), deadline
                )
            if not _is_for(intent, order):
                return NoIntent()
            state = _fence(intent, order)
            return Open() if isinstance(state, Unknown) else state
        except stripe.InvalidRequestError as error:
            _log("retrieve", error)
            return NoIntent() if error.code == "resource_missing" else Unknown()
        except Exception as error:  # noqa: BLE001 - a garbled answer breaks the SDK in ways that it does not name
            _log("retrieve", error)
            return Unknown()

    def page_of_intents(self, *, after: str | None, deadline: Deadline) -> tuple[list[IntentSummary], str | None]:
        """Up to 100 PaymentIntents, the newest first, from behind `after`; and behind which the next page begins.

        Raises `PaymentProviderError` where Stripe does not tell.
        """
        try:
            self._allow_time(deadline)
            parameters: dict[str, Any] = {"limit": 100, "expand": ["data.latest_charge"]}
            if after is not None:
                parameters["starting_after"] = after
            page = self._repeated_with_another_key(
                lambda options: self._client.v1.payment_intents.list(
                    cast("PaymentIntentListParams", parameters), options
                ),
                deadline,
            )
            intents = [_summary(intent) for intent in page.data]
        except Exception as error:
            _log("list", error)
            raise PaymentProviderError("The payment provider does not list the payments.") from error
        return intents, intents[-1].intent_id if page.has_more and intents else None

    def summary_of(self, intent_id: str, *, deadline: Deadline) -> IntentSummary:
        """A PaymentIntent as it is now. Raises `PaymentProviderError` where Stripe does not tell."""
        try:
            self._allow_time(deadline)
            return _summary(
                self._repeated_with_another_key(
                    lambda options: self._client.v1.payment_intents.retrieve(
                        intent_id, {"expand": ["latest_charge"]}, options
                    ),
                    deadline,
                )
            )
        except Exception as error:
            _log("retrieve", error)
            raise PaymentProviderError("The payment provider does not tell of the payment.") from error

    def refund(self, order: Order, intent_id: str, *, deadline: Deadline) -> Refunded | Unknown:
        """Give the whole charge back. The idempotency key comes from the intent, so that it goes back once."""
        try:
            self._allow_time(deadline)
            with timed(Latency.STRIPE_REFUND):
                refund = self._repeated_with_another_key(
                    lambda options: self._client.v1.refunds.create(
                        {"payment_intent": intent_id, "metadata": {"orderId": order.order_id}},
                        {**options, "idempotency_key": f"refund-{intent_id}"},
                    ),
                    deadline,
                )
            if not isinstance(refund.id, str) or refund.status in _REFUNDS_THAT_FAILED:
                logger.error("stripe could not send a refund", refundStatus=str(refund.status))
                return Unknown()
            return Refunded(refund.id)
        except stripe.InvalidRequestError as error:
            _log("refund", error)
            # Somebody gave it back past us.
            return Refunded(error.code) if error.code == "charge_already_refunded" else Unknown()
        except Exception as error:  # noqa: BLE001 - a garbled answer breaks the SDK in ways that it does not name
            _log("refund", error)
            return Unknown()

    def _options(self) -> stripe.RequestOptions:
        return {"api_key": self.secrets.secret_key()} if self.secrets else {}

    def _repeated_with_another_key(self, call: Callable[[stripe.RequestOptions], _T], deadline: Deadline) -> _T:
        """What the call returns, repeated once where Stripe does not know the key and there is another by now.

        Not for confirming: an earlier try of the same request, whose reply was lost, may still be under way. Of all
        else a repetition has the same effect, and what was not let in has had none.
        """
        options = self._options()
        try:
            return call(options)
        except stripe.AuthenticationError:
            if self.secrets is None or not self.secrets.renewed(options.get("api_key") or ""):
                raise
            self._allow_time(deadline)
            return call(self._options())

    def _allow_time(self, deadline: Deadline) -> None:
        """Share the time left among the tries of the next call, the SDK's pauses between them taken off."""
        remaining = min(deadline.remaining(), LONGEST_CALL_SECONDS)
        if remaining < SHORTEST_CALL_SECONDS:
            raise _NoTimeLeft
        self._transport.timeout = (remaining - SDK_RETRIES * _LONGEST_SDK_PAUSE_SECONDS) / (SDK_RETRIES + 1)


def _summary(intent: stripe.PaymentIntent) -> IntentSummary:
    # An object, for whoever asked had it expanded.
    charge: Any = intent.latest_charge if intent.status == IntentStatus.SUCCEEDED else None
    return IntentSummary(
        intent_id=intent.id,
        order_id=getattr(intent.metadata, "orderId", None),
        amount=intent.amount,
        currency=intent.currency,
        created_at=datetime.fromtimestamp(intent.created, UTC),
        charged_at=datetime.fromtimestamp(charge.created, UTC) if charge else None,
        kept=charge.amount - charge.amount_refunded if charge else 0,
    )


def stripe_gateway(settings: StripeSettings, dynamodb: "DynamoDBClient | None" = None) -> StripeGateway:
    """The gateway to the Stripe that `settings` name; `dynamodb` keeps the dummy's state where a table is named."""
    http_client: stripe.HTTPClient
    if settings.backend is StripeBackend.API:
        from order_payments.stripe_transport import TimedSession

        session = TimedSession()
        transport: Transport = session
        http_client = stripe.RequestsClient(session=session)
    else:
        from order_payments.dummy_stripe import DummyStripeHTTPClient, DynamoDBStore, MemoryStore

        store = DynamoDBStore(dynamodb, settings.dummy_table) if dynamodb and settings.dummy_table else MemoryStore()
        transport = http_client = DummyStripeHTTPClient(store)
    key, secrets = settings.secret_key or "", None
    if settings.secret_arn:
        from order_payments.stripe_secrets import stripe_secrets

        secrets = stripe_secrets(settings.secret_arn)
        key = secrets.secret_key()
    client = stripe.StripeClient(
        key,
        http_client=http_client,
        max_network_retries=SDK_RETRIES,
        base_addresses={"api": settings.api_base} if settings.api_base else {},
    )
    return StripeGateway(client, transport, secrets)


def _confirmation(intent: stripe.PaymentIntent, order: Order) -> Confirmation:
    if _is_for(intent, order) and intent.status == IntentStatus.SUCCEEDED:
        return Paid()
    if _is_for(intent, order) and intent.status == IntentStatus.REQUIRES_ACTION:
        return Declined(
            Reason("authentication_required", "The card wants the buyer to authenticate, which is not offered.")
        )
    logger.warning("stripe left the outcome open", intentStatus=str(intent.status))
    return Unknown()


def _fence(intent: stripe.PaymentIntent, order: Order) -> Fence:
    if _is_for(intent, order) and intent.status == IntentStatus.SUCCEEDED:
        return Paid()
    if _is_for(intent, order) and intent.status == IntentStatus.CANCELED:
        return Cancelled()
    logger.warning("stripe left the outcome open", intentStatus=str(intent.status))
    return Unknown()


def _is_for(intent: stripe.PaymentIntent, order: Order) -> bool:
    """Whether the answer is about this order at all: another's, or one cut short, is no answer."""
    named = "orderId" in intent.metadata and intent.metadata["orderId"] == order.order_id
    return named and (intent.amount, intent.currency) == (order.total_amount, order.currency)


def _decline_reason(error: stripe.CardError) -> Reason:
    return Reason(
        code=_text(error.code) or "card_declined",
        message=_text(error.user_message) or "The card was declined.",
        decline_code=_text(getattr(error.error, "decline_code", None)),
    )


def _text(value: object) -> str | None:
    """`value` where it is text, not longer than we keep: an answer may have any form."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else None


def _is_replay(error: stripe.APIError) -> bool:
    """Whether Stripe has given this answer before, to the same idempotency key."""
    return {name.lower(): value for name, value in dict(error.headers or {}).items()}.get(
        "idempotent-replayed"
    ) == "true"


def _log(call: str, error: Exception) -> None:
    """Log the kind of an error, not its text: that may quote what we sent."""
    logger.warning(
        "stripe did not do as asked",
        call=call,
        error=type(error).__name__,
        httpStatus=getattr(error, "http_status", None),
        stripeCode=getattr(error, "code", None),
        stripeRequestId=getattr(error, "request_id", None),
    )
