"""Events of the dummy Stripe, sent on request only. They may repeat or contradict the actual outcome.

An event about a changed refund is the exception: the service asks Stripe for the refund, so the change is made first.
"""

import time
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from dummy_stripe import Intent, RefundStatus, Store, end_refund
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import Event, EventType, deliver, make_event
from dummy_stripe.payment_intents import apply_due_changes
from local.emulator.process import open_emulator_client
from local.shop.client import require_order_id, suggest_for_unpaid
from local.stack import WEBHOOK_SECRET

SUCCEEDED = EventType.PAYMENT_INTENT_SUCCEEDED.value


def send(description: Mapping[str, Any], order_id: str, event_type: str, secret: str | None = None) -> dict[str, int]:
    """Send an event about each intent of an order to a stack's webhook. Return the HTTP statuses by intent id.

    `description` is the content of `stack.json`, and `secret` the stack's signing secret.
    """
    require_order_id(order_id)
    if event_type not in tuple(EventType):
        raise CommandError(f"The dummy Stripe cannot send {event_type!r}. Choose one of {', '.join(EventType)}.")
    table = description["tables"].get("dummyStripe")
    if table is None:
        raise CommandError("The running stack does not use the dummy Stripe. Send the event from your Stripe instead.")
    with open_emulator_client(description["awsEndpointUrl"], "dynamodb") as client:
        store = DynamoDBStore(client, table)
        intents = [intent for intent in store.intents() if intent.metadata.get("orderId") == order_id]
        if not intents:
            unpaid = suggest_for_unpaid(order_id)
            raise CommandError(f"The dummy Stripe has no payment of the order {order_id}. {unpaid}")
        events = make_events(store, intents, EventType(event_type), time.time())
    if not events:
        raise CommandError(f"No payment of the order {order_id} was refunded. Refund it first.")
    url = f"{description['apiUrl']}/webhooks/stripe"
    return {intent_id: deliver(url, event, secret or WEBHOOK_SECRET) for intent_id, event in events.items()}


def make_events(store: Store, intents: list[Intent], event_type: EventType, now: float) -> dict[str, Event]:
    """Return the events by intent id. An event of a refund is about the newest refund of an intent that has one.

    `refund.failed` makes that refund fail first. `refund.updated` and `charge.refund.updated` let it succeed first, if
    it is pending.
    """
    if not event_type.startswith("payment_intent."):
        intents = [_change_newest_refund(store, intent, event_type, now) for intent in intents if any(intent.refunds)]
    return {intent.id: make_event(intent, event_type, now) for intent in intents}


def _change_newest_refund(store: Store, intent: Intent, event_type: EventType, now: float) -> Intent:
    *_, refund = apply_due_changes(intent, now).refunds
    match event_type:
        case EventType.REFUND_FAILED if refund.returns_money:
            return end_refund(store, refund.id, RefundStatus.FAILED, now)
        case EventType.REFUND_UPDATED | EventType.CHARGE_REFUND_UPDATED if refund.status is RefundStatus.PENDING:
            return end_refund(store, refund.id, RefundStatus.SUCCEEDED, now)
    return intent
