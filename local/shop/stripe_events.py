"""Events of the dummy Stripe, sent on request only. They may repeat or contradict the actual outcome."""

import time
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import EventType, deliver, make_event
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
        intents = [i for i in DynamoDBStore(client, table).intents() if i.metadata.get("orderId") == order_id]
    if not intents:
        raise CommandError(f"The dummy Stripe has no payment of the order {order_id}. {suggest_for_unpaid(order_id)}")
    url = f"{description['apiUrl']}/webhooks/stripe"
    try:
        return {
            intent.id: deliver(url, make_event(intent, EventType(event_type), time.time()), secret or WEBHOOK_SECRET)
            for intent in intents
        }
    except ValueError as error:
        raise CommandError(f"The event cannot be sent: {error}.") from error
