"""A listener for order events of a deployed stack: an SQS queue behind a rule on the bus."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from local.stack import Stack

DELIVERY_TIMEOUT_SECONDS = 60

Event = dict[str, Any]


@dataclass
class Listener:
    """An SQS queue behind a rule on the bus of order events, and the events received so far."""

    sqs: Any
    url: str
    arn: str
    received: list[Event] = field(default_factory=list)

    def events_of(self, order: str) -> list[Event]:
        """Return the received events of an order, in order of arrival."""
        return [event for event in self.received if event["detail"]["order"]["orderId"] == order]

    def wait_for(self, order: str, count: int) -> list[Event]:
        """Receive until an order has `count` events, and return them."""
        receive_until(lambda: len(self.events_of(order)) >= count, self._receive)
        return self.events_of(order)

    def _receive(self) -> None:
        self.received += receive(self.sqs, self.url)


def receive(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Receive up to ten messages, delete them and return their bodies. Waits up to one second."""
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def receive_until(is_done: Callable[[], bool], poll: Callable[[], None]) -> None:
    """Call `poll` until `is_done`. Fails after `DELIVERY_TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + DELIVERY_TIMEOUT_SECONDS
    while not is_done():
        assert time.monotonic() < deadline
        poll()


@contextmanager
def listen(stack: Stack, outputs: Mapping[str, str]) -> Iterator[Listener]:
    """Yield a listener for all events that are sent to the bus inside the block."""
    bus, name = outputs["OrderEventsBus"], f"listener-{uuid.uuid4().hex[:8]}"
    with ExitStack() as closing_:
        events, sqs = (closing_.enter_context(closing(stack.client(service))) for service in ("events", "sqs"))
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        closing_.callback(sqs.delete_queue, QueueUrl=url)
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        rule_arn = events.put_rule(Name=name, EventBusName=bus, EventPattern='{"source":["order-payments"]}')["RuleArn"]
        closing_.callback(events.delete_rule, Name=name, EventBusName=bus)
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        put = events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
        assert put["FailedEntryCount"] == 0
        closing_.callback(events.remove_targets, Rule=name, EventBusName=bus, Ids=["queue"])
        yield Listener(sqs, url, arn)
