"""`POST /webhooks/stripe`: Stripe reports a change of a PaymentIntent, which is read again before anything is done.

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
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger
from order_payments.runtime.settings import WebhookSettings

FINAL_EVENTS = frozenset({"payment_intent.succeeded", "payment_intent.canceled"})
SUBSCRIBED_EVENTS = FINAL_EVENTS | {
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
}
"""The events to subscribe to. https://docs.stripe.com/api/events/types"""

EVENT_BODY = {
    "description": "An event, as Stripe signed it.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


class Event(BaseModel):
    """As much of an event about one of our intents as we need. https://docs.stripe.com/api/events/object"""

    id: str
    type: str
    intent_id: str = Field(validation_alias=AliasPath("data", "object", "id"))
    order_id: str = Field(validation_alias=AliasPath("data", "object", "metadata", "orderId"))


class Receipt(View):
    """The response after which Stripe does not send the event again."""

    received: Literal[True] = True


webhook_settings = WebhookSettings.from_environment()
components = Components()
orders = components.orders
stripe = components.stripe
api = Api(route_of("stripe_webhook"), raises=[InvalidSignature])


@api.endpoint(responses={200: success("Received.")}, openapi_extensions={"requestBody": EVENT_BODY})
def receive_event(
    signature: Annotated[str, Header(alias="Stripe-Signature", description="Made with the webhook's secret.")] = "",
) -> Receipt:
    """Check the signature, read the order's PaymentIntent from Stripe, and settle the order if that is final.

    The event's own account of the payment is not used, so it may arrive twice, late or out of order.
    """
    event = signed_event(signature)
    if event is None or event.type not in SUBSCRIBED_EVENTS:
        return Receipt()
    with logger.append_context_keys(orderId=event.order_id[:64], eventId=event.id, eventType=event.type):
        try:
            order = follow_intent(event.order_id, event.intent_id, orders=orders, stripe=stripe, deadline=api.deadline)
        except OrderNotFound:
            logger.warning("stripe event ignored: unknown order")
            return Receipt()
        if event.type in FINAL_EVENTS and order.in_flight and order.payment_intent_id == event.intent_id:
            # Stripe retries an event for days until the response is a 2xx.
            raise Busy("The order cannot be settled now.")
    return Receipt()


def signed_event(signature: str) -> Event | None:
    """Return the event if Stripe signed it within the last five minutes, and None if it is about nothing of ours.

    Raises `InvalidSignature`.
    """
    try:
        payload = api.raw_body.decode()
        check_signature(payload, signature)
    except (SignatureVerificationError, ValueError, TypeError):
        # The SDK does not reckon with a signature that is not ASCII.
        raise InvalidSignature("The signature does not fit the message.") from None
    try:
        return Event.model_validate_json(payload)
    except ValidationError:
        log_unreadable_event(payload)
        return None


def log_unreadable_event(payload: str) -> None:
    """Log a signed event that is not about one of our intents, unless it is of a type that has another subject.

    The webhook still responds 200, as the event stays unreadable however often Stripe sends it.
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
    """Raise the SDK's error unless Stripe signed this, with the secret in use or one that is new.

    Raise `InvalidSignature` if no secret is configured: with an empty one every caller can sign.
    """
    secret = signing_secret()
    if secret is None:
        raise InvalidSignature("The signature does not fit the message.")
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
    """Return the secret that Stripe signs with, None if none is configured."""
    return stripe.secrets.webhook_secret() if stripe.secrets else webhook_settings.signing_secret


if signing_secret() is None:
    # Logged at the start, not per request, so that a stranger's calls neither flood the log nor raise an alarm.
    logger.error("webhook secret missing")
handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
