"""`POST /webhooks/stripe`: Stripe reports a change of a PaymentIntent or a refund, which the service then reads.

https://docs.stripe.com/webhooks
"""

from order_payments.composition import Components

import json
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import AliasPath, BaseModel, Field, ValidationError
from stripe import SignatureVerificationError, Webhook, WebhookSignature

from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import View
from order_payments.domain.errors import Busy, InvalidSignature, OrderNotFound
from order_payments.domain.orders import NO_ORDER
from order_payments.payments import follow_intent
from order_payments.refunds import follow_refund
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger
from order_payments.runtime.settings import WebhookSettings

FINAL_EVENTS = frozenset({"payment_intent.succeeded", "payment_intent.canceled"})
INTENT_EVENTS = FINAL_EVENTS | {
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
}
REFUND_EVENTS = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})
SUBSCRIBED_EVENTS = INTENT_EVENTS | REFUND_EVENTS
"""Event types to subscribe to. https://docs.stripe.com/api/events/types"""

EVENT_BODY = {
    "description": "The event that Stripe signed.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


class Event(BaseModel):
    """The fields that the webhook needs of an event. https://docs.stripe.com/api/events/object"""

    id: str
    type: str
    object_id: str = Field(validation_alias=AliasPath("data", "object", "id"))
    order_id: str | None = Field(None, validation_alias=AliasPath("data", "object", "metadata", "orderId"))


class Receipt(View):
    """Acknowledgement of an event. Stripe does not send the event again."""

    received: Literal[True] = True


webhook_settings = WebhookSettings.from_environment()
components = Components()
orders = components.orders
stripe = components.stripe
api = Api(route_of("stripe_webhook"), raises=[InvalidSignature])


@api.endpoint(responses={200: success("The event was received.")}, openapi_extensions={"requestBody": EVENT_BODY})
def receive_event(
    signature: Annotated[str, Header(alias="Stripe-Signature", description="Signed with the webhook's secret.")] = "",
) -> Receipt:
    """Verify the signature, read the PaymentIntent or the refund from Stripe, and bring its order up to date.

    The payment data in the event is not used, so an event may arrive twice, late or out of order.
    """
    event = signed_event(signature)
    if event is None or event.type not in SUBSCRIBED_EVENTS:
        return Receipt()
    order_id = event.order_id[:64] if event.order_id else None
    with logger.append_context_keys(orderId=order_id, eventId=event.id, eventType=event.type):
        try:
            if event.type in REFUND_EVENTS:
                follow_refund(event.object_id, orders=orders, stripe=stripe, deadline=api.deadline)
            elif event.order_id is not None:
                settle_by_intent(event.order_id, event)
            else:
                logger.warning("stripe event ignored: foreign intent")
        except OrderNotFound:
            logger.warning("stripe event ignored: unknown order")
    return Receipt()


def settle_by_intent(order_id: str, event: Event) -> None:
    """Settle the order if its intent is final. Raises `Busy` if that must be tried again."""
    order = follow_intent(order_id, event.object_id, orders=orders, stripe=stripe, deadline=api.deadline)
    if event.type in FINAL_EVENTS and order.in_flight and order.payment_intent_id == event.object_id:
        # Stripe retries an event for days until the response is a 2xx.
        raise Busy("The order cannot be settled now. Send the event again.")


def signed_event(signature: str) -> Event | None:
    """Return the event if Stripe signed it within the last five minutes, or None if it does not concern this service.

    Raises `InvalidSignature`.
    """
    try:
        payload = api.raw_body.decode()
        check_signature(payload, signature)
    except (SignatureVerificationError, ValueError, TypeError):
        # The SDK raises other errors for a signature that is not ASCII.
        raise InvalidSignature("The signature does not match the event.") from None
    try:
        return Event.model_validate_json(payload)
    except ValidationError:
        log_unreadable_event(payload)
        return None


def log_unreadable_event(payload: str) -> None:
    """Log a signed event without an intent of this service, unless its type concerns another object.

    The webhook still responds 200, because retries would not make the event readable.
    """
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        event = None
    texts = (
        {name: value[:64] for name, value in event.items() if isinstance(value, str)} if isinstance(event, dict) else {}
    )
    with logger.append_context_keys(
        eventId=texts.get("id"), eventType=texts.get("type"), eventObject=texts.get("object")
    ):
        if texts.get("object") != "event":
            logger.error("stripe event unreadable")
            count(Count.STRIPE_EVENT_UNREADABLE)
        elif texts.get("type") in SUBSCRIBED_EVENTS:
            logger.warning("stripe event ignored: foreign intent")


def check_signature(payload: str, signature: str) -> None:
    """Raise the SDK's error unless Stripe signed the event with the cached secret, or with a new one.

    Raises `InvalidSignature` if no secret is configured: any caller can sign with an empty one.
    """
    secret = signing_secret()
    if secret is None:
        raise InvalidSignature("The signature does not match the event.")
    try:
        WebhookSignature.verify_header(payload, signature, secret, Webhook.DEFAULT_TOLERANCE)
    except SignatureVerificationError:
        if stripe.secrets is None or not stripe.secrets.refresh(rejected=secret):
            raise
        new_secret = signing_secret()
        if new_secret is None:
            raise
        WebhookSignature.verify_header(payload, signature, new_secret, Webhook.DEFAULT_TOLERANCE)


def signing_secret() -> str | None:
    """Return the webhook's signing secret, or None if none is configured."""
    return stripe.secrets.webhook_secret() if stripe.secrets else webhook_settings.signing_secret


if signing_secret() is None:
    # Logged once per start, so that unauthenticated calls neither flood the log nor raise an alarm.
    logger.error("webhook secret missing")
handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
