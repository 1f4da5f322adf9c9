"""News from the dummy Stripe. It sends none by itself, but on request, true or not and as often as one likes."""

import time
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import EventType, deliver, event_of
from local.emulator.process import open_aws_client
from local.shop.client import require_order_id
from local.stack import WEBHOOK_SECRET

SUCCEEDED = EventType.PAYMENT_INTENT_SUCCEEDED.value


def send(description: Mapping[str, Any], order_id: str, event_type: str, secret: str | None = None) -> dict[str, int]:
    """Tell a stack's webhook about each intent of an order. Returns the status of its answers, by the intent's id.

    `description` is the content of `stack.json`; `secret` what the stack was given to check signatures with.
    """
    require_order_id(order_id)
    if event_type not in tuple(EventType):
        raise CommandError(f"The dummy Stripe tells of no {event_type!r}, but of {', '.join(EventType)}.")
    table = description["tables"].get("dummyStripe")
    if table is None:
        raise CommandError("The running stack uses a Stripe of its own, which sends its events itself.")
    with open_aws_client(description["awsEndpointUrl"], "dynamodb") as client:
        intents = [i for i in DynamoDBStore(client, table).intents() if i.metadata.get("orderId") == order_id]
    if not intents:
        raise CommandError(
            f"Stripe has no intent of the order {order_id}. Either there is no such order (./shop orders), or nobody "
            f"has tried to pay it (./shop pay {order_id})."
        )
    url = f"{description['apiUrl']}/webhooks/stripe"
    try:
        return {
            intent.id: deliver(url, event_of(intent, EventType(event_type), time.time()), secret or WEBHOOK_SECRET)
            for intent in intents
        }
    except ValueError as error:
        raise CommandError(f"There is no such news: {error}.") from error
