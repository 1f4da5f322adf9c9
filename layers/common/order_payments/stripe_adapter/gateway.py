"""Gateway to Stripe: calls the Stripe SDK and returns the service's own outcomes. SDK errors do not leave this module.

A PaymentIntent is either paid or cancelled, never both. `cancel` therefore also reports whether an intent was paid.
"""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast

import stripe

from order_payments.domain.errors import AmountNotChargeable, Busy, PaymentInProgress, PaymentProviderError
from order_payments.domain.orders import Order, Reason
from order_payments.domain.refunds import Refund, RefundFailure, RefundKind, RefundStatus
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Latency
from order_payments.runtime.observability import logger, measure_latency
from order_payments.runtime.settings import InvalidSettings, StripeBackend, StripeSettings
from order_payments.stripe_adapter import outcomes
from order_payments.stripe_adapter.outcomes import IntentSummary, RefusalCause
from order_payments.stripe_adapter.retries import (
    Call,
    EveryTryRateLimited,
    NoTimeLeft,
    Transport,
    header,
    stripe_code,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from stripe.params import PaymentIntentListParams, RefundCreateParams, RefundListParams

    from dummy_stripe.http_client import DummyStripeHTTPClient
    from order_payments.stripe_adapter.secrets import StripeSecrets

_T = TypeVar("_T")


class IntentStatus(StrEnum):
    """PaymentIntent statuses that the service acts on. https://docs.stripe.com/api/payment_intents/object"""

    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    REQUIRES_ACTION = "requires_action"


_REFUND_STATUSES = {
    "succeeded": RefundStatus.SUCCEEDED,
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}
"""This service's status for each of Stripe's. https://docs.stripe.com/api/refunds/object"""

MAXIMUM_STRIPE_TEXT_LENGTH = 500
"""Characters that are stored of a text from Stripe, so that an order fits into a DynamoDB item."""


_AMOUNT_ERROR_CODES = frozenset(
    {
        "amount_too_small",
        "amount_too_large",
        "invalid_charge_amount",
        "invalid_charge_amount_no_decimal_compatible",
    }
)
_AMOUNT_PARAMETERS = frozenset({"amount", "currency"})


class StripeGateway:
    """Calls to Stripe for the PaymentIntent of an order."""

    def __init__(
        self,
        client: stripe.StripeClient,
        transport: Transport,
        secrets: "StripeSecrets | None" = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`client` must not retry. `secrets` has the API key if the key can change. `sleep` takes seconds."""
        self._client = client
        self._transport = transport
        self._sleep = sleep
        self.secrets = secrets

    def create_intent(self, order: Order, *, deadline: Deadline) -> str:
        """Create the order's PaymentIntent, unconfirmed, and return its id. A repeated call returns the same intent.

        Raises `PaymentInProgress` while another request creates it, `AmountNotChargeable` if Stripe refuses the amount,
        `Busy` at the rate limit, and `PaymentProviderError` for any other failure.
        """
        try:
            with measure_latency(Latency.STRIPE_CREATE):
                try:
                    intent = self._create(order, f"create-{order.order_id}", deadline)
                except (stripe.APIError, stripe.IdempotencyError) as error:
                    if not _needs_another_key(error):
                        raise
                    intent = self._create(order, f"create-{order.order_id}-{uuid.uuid4().hex}", deadline)
            intent_id = intent.id if _is_for(intent, order) else None
        except NoTimeLeft:
            raise PaymentProviderError(
                "Too little time was left to call the payment provider. Try again.", order=order
            ) from None
        except EveryTryRateLimited as limited:
            message = "The payment provider is busy. Try again later."
            raise Busy(message, order=order, retry_after_seconds=limited.retry_after_seconds) from limited
        except Exception as error:
            _log_failure("create", error)
            if isinstance(error, stripe.RateLimitError):
                raise Busy("The payment provider is busy. Try again later.", order=order) from error
            if isinstance(error, stripe.InvalidRequestError) and _cause_of(error) is RefusalCause.AMOUNT:
                raise AmountNotChargeable("The payment provider cannot charge this amount.", order=order) from error
            if getattr(error, "http_status", None) == HTTPStatus.CONFLICT:
                raise PaymentInProgress("Another request is starting a payment of this order.", order=order) from error
            raise PaymentProviderError("The payment provider did not accept the payment.", order=order) from error
        if not isinstance(intent_id, str):
            logger.error("stripe response does not match the order")
            raise PaymentProviderError("The payment provider did not accept the payment.", order=order)
        return intent_id

    def _create(self, order: Order, idempotency_key: str, deadline: Deadline) -> stripe.PaymentIntent:
        return self._call(
            lambda options: self._client.v1.payment_intents.create(
                {
                    "amount": order.total_amount,
                    "currency": order.currency,
                    # Other methods may stay `processing` for days and hold the stock that long.
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"orderId": order.order_id, "buyerId": order.buyer_id},
                },
                {**options, "idempotency_key": idempotency_key},
            ),
            deadline,
        )

    def confirm(self, order: Order, *, deadline: Deadline) -> outcomes.ConfirmOutcome:
        """Charge the attempt in flight. The attempt's id is the idempotency key, so that retries charge once."""
        attempt = order.require_in_flight()
        call = Call(self._transport, deadline, self._sleep)
        try:
            with measure_latency(Latency.STRIPE_CONFIRM):
                intent = call.run(
                    lambda: self._client.v1.payment_intents.confirm(
                        attempt.payment_intent_id,
                        {"payment_method": attempt.payment_method_id},
                        {**self._options(), "idempotency_key": attempt.attempt_id},
                    )
                )
            return _confirm_outcome(intent, order)
        except NoTimeLeft:
            return outcomes.NotStarted()
        except EveryTryRateLimited as limited:
            _log_failure("confirm", limited)
            return outcomes.RateLimited(limited.retry_after_seconds)
        except stripe.CardError as error:
            return outcomes.Declined(_decline_reason(error))
        except (stripe.InvalidRequestError, stripe.AuthenticationError, stripe.PermissionError) as error:
            _log_failure("confirm", error)
            if error.code == "payment_intent_unexpected_state":
                return outcomes.Closed()
            # Stripe may still execute an earlier try that got no response.
            return outcomes.Unknown() if call.is_in_doubt else outcomes.Refused(_cause_of(error))
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("confirm", error)
            return outcomes.Unknown()

    def cancel(self, order: Order, intent_id: str, *, deadline: Deadline) -> outcomes.CancelOutcome:
        """Cancel the intent and return its final state, or `Unknown`. An intent stays cancelled or paid."""
        key = uuid.uuid4().hex
        try:
            with measure_latency(Latency.STRIPE_CANCEL):
                intent = self._call(
                    lambda options: self._client.v1.payment_intents.cancel(
                        intent_id, options={**options, "idempotency_key": key}
                    ),
                    deadline,
                )
            return _cancel_outcome(intent, order)
        except NoTimeLeft:
            return outcomes.Unknown()
        except stripe.InvalidRequestError as error:
            if error.code != "payment_intent_unexpected_state":
                _log_failure("cancel", error)
                return outcomes.Unknown()
            state = self.retrieve_state(order, intent_id, deadline=deadline)
            return outcomes.Unknown() if isinstance(state, outcomes.Open | outcomes.NoIntent) else state
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("cancel", error)
            return outcomes.Unknown()

    def retrieve_state(self, order: Order, intent_id: str, *, deadline: Deadline) -> outcomes.IntentState:
        """Return the state of the intent without changing it."""
        try:
            with measure_latency(Latency.STRIPE_RETRIEVE):
                intent = self._retrieve(intent_id, deadline)
            if not _is_for(intent, order):
                return outcomes.NoIntent()
            state = _cancel_outcome(intent, order)
            return outcomes.Open() if isinstance(state, outcomes.Unknown) else state
        except stripe.InvalidRequestError as error:
            _log_failure("retrieve", error)
            return outcomes.NoIntent() if error.code == "resource_missing" else outcomes.Unknown()
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("retrieve", error)
            return outcomes.Unknown()

    def _retrieve(self, intent_id: str, deadline: Deadline) -> stripe.PaymentIntent:
        return self._call(
            lambda options: self._client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}, options),
            deadline,
        )

    def list_intents(self, *, after: str | None, deadline: Deadline) -> tuple[list[IntentSummary], str | None]:
        """Return up to 100 PaymentIntents after the id `after`, newest first, and the id to continue after, or None.

        Raises `PaymentProviderError` if the call fails.
        """
        try:
            parameters: dict[str, Any] = {"limit": 100, "expand": ["data.latest_charge"]}
            if after is not None:
                parameters["starting_after"] = after
            page = self._call(
                lambda options: self._client.v1.payment_intents.list(
                    cast("PaymentIntentListParams", parameters), options
                ),
                deadline,
            )
            intents = [_summary(intent) for intent in page.data]
        except Exception as error:
            _log_failure("list", error)
            raise PaymentProviderError("The payment provider did not list the payments.") from error
        return intents, intents[-1].intent_id if page.has_more and intents else None

    def retrieve_summary(self, intent_id: str, *, deadline: Deadline) -> IntentSummary:
        """Return the current summary of a PaymentIntent. Raises `PaymentProviderError` if the call fails."""
        try:
            return _summary(self._retrieve(intent_id, deadline))
        except Exception as error:
            _log_failure("retrieve", error)
            raise PaymentProviderError("The payment provider did not return the payment.") from error

    def create_refund(self, order: Order, refund: Refund, *, deadline: Deadline) -> outcomes.RefundOutcome:
        """Send a refund. The idempotency key comes from the refund or the late payment, so retries refund once."""
        parameters: dict[str, Any] = {
            "payment_intent": refund.payment_intent_id,
            "metadata": {"orderId": order.order_id},
        }
        if refund.kind is RefundKind.LATE_PAYMENT:
            # Version 0.1.0 sends the same request, for all that is left of the charge, under the same key.
            key = f"refund-{refund.payment_intent_id}"
        else:
            key = f"refund-{refund.refund_id}"
            parameters["amount"] = refund.amount
            parameters["metadata"]["refundId"] = refund.refund_id
        call = Call(self._transport, deadline, self._sleep)
        try:
            with measure_latency(Latency.STRIPE_REFUND):
                created = self._call(
                    lambda options: self._client.v1.refunds.create(
                        cast("RefundCreateParams", parameters), {**options, "idempotency_key": key}
                    ),
                    deadline,
                    call,
                )
            return _stripe_refund(created)
        except stripe.InvalidRequestError as error:
            _log_failure("refund", error)
            # Stripe may still execute an earlier try that got no response.
            return outcomes.Unknown() if call.is_in_doubt else outcomes.RefundRefused(_refund_failure(error))
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("refund", error)
            return outcomes.Unknown()

    def retrieve_refund(
        self, stripe_refund_id: str, *, deadline: Deadline
    ) -> outcomes.StripeRefund | outcomes.NoRefund | outcomes.Unknown:
        """Return the current state of a refund."""
        try:
            with measure_latency(Latency.STRIPE_RETRIEVE):
                refund = self._call(
                    lambda options: self._client.v1.refunds.retrieve(stripe_refund_id, options=options), deadline
                )
            # A charge without a PaymentIntent is not this service's.
            return _stripe_refund(refund) if refund.payment_intent else outcomes.NoRefund()
        except stripe.InvalidRequestError as error:
            _log_failure("retrieve refund", error)
            return outcomes.NoRefund() if error.code == "resource_missing" else outcomes.Unknown()
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("retrieve refund", error)
            return outcomes.Unknown()

    def list_refunds(self, intent_id: str, *, deadline: Deadline) -> list[outcomes.StripeRefund] | outcomes.Unknown:
        """Return all refunds of an intent's charge, newest first."""
        found: list[outcomes.StripeRefund] = []
        parameters: dict[str, Any] = {"payment_intent": intent_id, "limit": 100}
        try:
            while True:
                page = self._call(
                    lambda options: self._client.v1.refunds.list(cast("RefundListParams", parameters), options),
                    deadline,
                )
                states = [_stripe_refund(refund) for refund in page.data]
                if any(isinstance(state, outcomes.Unknown) for state in states):
                    return outcomes.Unknown()
                found += [state for state in states if isinstance(state, outcomes.StripeRefund)]
                if not page.has_more or not found:
                    return found
                parameters["starting_after"] = found[-1].stripe_refund_id
        except Exception as error:  # noqa: BLE001 - a malformed response raises undocumented errors in the SDK
            _log_failure("list refunds", error)
            return outcomes.Unknown()

    def _options(self) -> stripe.RequestOptions:
        return {"api_key": self.secrets.secret_key()} if self.secrets else {}

    def _call(self, send: Callable[[stripe.RequestOptions], _T], deadline: Deadline, call: Call | None = None) -> _T:
        """Return the result of a call. If Stripe rejects the API key and there is a new one, repeat the call once.

        Do not use it to confirm: an earlier try may still be running. Any other call may be repeated.
        """
        options = self._options()
        call = call or Call(self._transport, deadline, self._sleep)
        try:
            return call.run(lambda: send(options))
        except stripe.AuthenticationError:
            if self.secrets is None or not self.secrets.refresh(rejected=options.get("api_key") or ""):
                raise
            return call.run(lambda: send(self._options()))


def _summary(intent: stripe.PaymentIntent) -> IntentSummary:
    # The caller expands the charge, so it is an object, not an id.
    charge: Any = intent.latest_charge if intent.status == IntentStatus.SUCCEEDED else None
    return IntentSummary(
        intent_id=intent.id,
        order_id=getattr(intent.metadata, "orderId", None),
        amount=intent.amount,
        currency=intent.currency,
        created_at=datetime.fromtimestamp(intent.created, UTC),
        charged_at=datetime.fromtimestamp(charge.created, UTC) if charge else None,
        unrefunded_amount=charge.amount - charge.amount_refunded if charge else 0,
    )


def stripe_gateway(settings: StripeSettings, dynamodb: "DynamoDBClient | None" = None) -> StripeGateway:
    """Return the gateway to the Stripe in `settings`. `dynamodb` is the client for the dummy's table, if it has one."""
    http_client: stripe.HTTPClient
    if settings.backend is StripeBackend.API:
        from order_payments.stripe_adapter.transport import TimedSession

        session = TimedSession()
        transport: Transport = session
        http_client = stripe.RequestsClient(session=session)
    else:
        transport = http_client = _dummy_client(settings, dynamodb)
    key, secrets = settings.secret_key or "", None
    if settings.secret_arn:
        from order_payments.stripe_adapter.secrets import stripe_secrets

        secrets = stripe_secrets(settings.secret_arn)
        key = secrets.secret_key()
    client = stripe.StripeClient(
        key,
        http_client=http_client,
        max_network_retries=0,  # see retries.py
        base_addresses={"api": settings.api_base} if settings.api_base else {},
    )
    return StripeGateway(client, transport, secrets)


def _dummy_client(settings: StripeSettings, dynamodb: "DynamoDBClient | None") -> "DummyStripeHTTPClient":
    try:
        from dummy_stripe import MemoryStore
        from dummy_stripe.dynamodb_store import DynamoDBStore
        from dummy_stripe.http_client import DummyStripeHTTPClient
    except ModuleNotFoundError as error:
        if error.name != "dummy_stripe":
            raise
        message = "STRIPE_BACKEND is dummy, but the function has no DummyStripeLayer. Attach it, or set api."
        raise InvalidSettings(message) from None
    store = DynamoDBStore(dynamodb, settings.dummy_table) if dynamodb and settings.dummy_table else MemoryStore()
    return DummyStripeHTTPClient(store)


def _stripe_refund(refund: stripe.Refund) -> outcomes.StripeRefund | outcomes.Unknown:
    status = _REFUND_STATUSES.get(str(refund.status))
    if status is None or not isinstance(refund.id, str) or not isinstance(refund.payment_intent, str):
        logger.error("stripe refund unreadable", refundStatus=str(refund.status))
        return outcomes.Unknown()
    failure = None
    if status is RefundStatus.FAILED:
        code = _text(getattr(refund, "failure_reason", None)) or str(refund.status)
        failure = RefundFailure(code, "Stripe could not return the money.")
    return outcomes.StripeRefund(
        stripe_refund_id=refund.id,
        payment_intent_id=refund.payment_intent,
        status=status,
        amount=refund.amount,
        created_at=datetime.fromtimestamp(refund.created, UTC),
        failure=failure,
        order_id=_text(getattr(refund.metadata, "orderId", None)),
        refund_id=_text(getattr(refund.metadata, "refundId", None)),
    )


def _refund_failure(error: stripe.StripeError) -> RefundFailure:
    return RefundFailure(
        _text(stripe_code(error)) or "refund_refused", _text(error.user_message) or "Stripe refused the refund."
    )


def _confirm_outcome(intent: stripe.PaymentIntent, order: Order) -> outcomes.ConfirmOutcome:
    if _is_for(intent, order) and intent.status == IntentStatus.SUCCEEDED:
        return outcomes.Paid()
    if _is_for(intent, order) and intent.status == IntentStatus.REQUIRES_ACTION:
        return outcomes.Declined(
            Reason("authentication_required", "The card requires authentication, which is not supported.")
        )
    logger.warning("payment intent has no final state", intentStatus=str(intent.status))
    return outcomes.Unknown()


def _cancel_outcome(intent: stripe.PaymentIntent, order: Order) -> outcomes.CancelOutcome:
    if _is_for(intent, order) and intent.status == IntentStatus.SUCCEEDED:
        return outcomes.ChargeRefunded() if _is_refunded(intent) else outcomes.Paid()
    if _is_for(intent, order) and intent.status == IntentStatus.CANCELED:
        return outcomes.Cancelled(_last_decline(intent))
    logger.warning("payment intent has no final state", intentStatus=str(intent.status))
    return outcomes.Unknown()


def _is_for(intent: stripe.PaymentIntent, order: Order) -> bool:
    """Return whether the intent matches the order's id, amount and currency."""
    has_order_id = "orderId" in intent.metadata and intent.metadata["orderId"] == order.order_id
    return has_order_id and (intent.amount, intent.currency) == (order.total_amount, order.currency)


def _is_refunded(intent: stripe.PaymentIntent) -> bool:
    """Return whether the charge was refunded in full. The intent must have its charge expanded."""
    charge: Any = intent.latest_charge
    return not isinstance(charge, str | None) and charge.amount_refunded >= intent.amount


def _last_decline(intent: stripe.PaymentIntent) -> Reason | None:
    """Return the decline of the last attempt on the intent; None if there was none."""
    error = getattr(intent, "last_payment_error", None)
    if error is None:
        return None
    return _reason(*(getattr(error, name, None) for name in ("code", "message", "decline_code")))


def _decline_reason(error: stripe.CardError) -> Reason:
    return _reason(error.code, error.user_message, getattr(error.error, "decline_code", None))


def _reason(code: object, message: object, decline_code: object) -> Reason:
    return Reason(
        code=_text(code) or "card_declined",
        message=_text(message) or "The card was declined.",
        decline_code=_text(decline_code),
    )


def _cause_of(error: stripe.StripeError) -> RefusalCause:
    if not isinstance(error, stripe.InvalidRequestError):
        return RefusalCause.ACCESS
    if error.param == "payment_method":
        return RefusalCause.PAYMENT_METHOD
    if error.code in _AMOUNT_ERROR_CODES or error.param in _AMOUNT_PARAMETERS:
        return RefusalCause.AMOUNT
    return RefusalCause.REQUEST


def _text(value: object) -> str | None:
    """Return `value`, shortened, if it is text; else None. A response may have any form."""
    return value[:MAXIMUM_STRIPE_TEXT_LENGTH] if isinstance(value, str) else None


def _needs_another_key(error: stripe.StripeError) -> bool:
    """Return whether the idempotency key can no longer create an intent.

    For a day, Stripe replays the response to a key, even a 500, and refuses the key with other parameters, for example
    after a release that changed them.
    """
    if isinstance(error, stripe.IdempotencyError):
        return error.http_status != HTTPStatus.CONFLICT
    return header(error, "Idempotent-Replayed") == "true"


def _log_failure(call: str, error: Exception) -> None:
    """Log the type of an error without its text, which may quote the request."""
    logger.warning(
        "stripe call failed",
        call=call,
        error=type(error).__name__,
        httpStatus=getattr(error, "http_status", None),
        stripeCode=stripe_code(error),
        stripeRequestId=getattr(error, "request_id", None),
    )
