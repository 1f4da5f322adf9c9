"""Order events on the deployed stack, from the orders table through a rule to a queue, or to the dead-letter queue."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from delivery import event_schemas
from local.stack import Stack
from tests.support.http_shop import HttpShop
from tests.support.order_listener import Listener, listen, receive, receive_until

SCHEMA = Draft202012Validator(json.loads(event_schemas.ORDER.read_text()), format_checker=FormatChecker())


@pytest.fixture(scope="module")
def outputs(stack: Stack) -> dict[str, str]:
    return stack.outputs()


@pytest.fixture(scope="module")
def listener(stack: Stack, outputs: Mapping[str, str]) -> Iterator[Listener]:
    with listen(stack, outputs) as listener:
        yield listener


@pytest.mark.parametrize(
    ("card", "end"), [("pm_card_visa", "confirmed"), ("pm_card_visa_chargeDeclinedInsufficientFunds", "cancelled")]
)
def test_order_events_are_published_in_order(shop: HttpShop, listener: Listener, card: str, end: str) -> None:
    order = shop.order((shop.add_product(), 2))
    placed = shop.status(order)
    shop.pay(order, card)

    created, settled = listener.wait_for(order, 2)

    assert [event["detail-type"] for event in (created, settled)] == ["order.created", f"order.{end}"]
    assert {event["source"] for event in (created, settled)} == {"order-payments"}
    for event, status in ((created, placed), (settled, shop.status(order))):
        SCHEMA.validate(event["detail"])
        assert event["detail"]["eventId"] == f"{order}.{status['status']}"
        assert status.items() <= event["detail"]["order"].items()
        assert [line["quantity"] for line in event["detail"]["order"]["items"]] == [2]


def test_concurrent_orders_publish_their_events_in_order(shop: HttpShop, listener: Listener) -> None:
    product = shop.add_product(stock=100)

    def place_and_pay(card: str) -> str:
        order = shop.order((product, 1))
        shop.pay(order, card)
        return order

    cards = ["pm_card_visa", "pm_card_chargeDeclined"] * 8
    with ThreadPoolExecutor(4) as pool:
        orders = list(pool.map(place_and_pay, cards))

    for order, card in zip(orders, cards, strict=True):
        end = "confirmed" if card == "pm_card_visa" else "cancelled"
        types = [event["detail-type"] for event in listener.wait_for(order, 2)]
        assert types == ["order.created", f"order.{end}"]


def test_write_without_status_change_publishes_no_event(shop: HttpShop, listener: Listener) -> None:
    product = shop.add_product()
    voided, after = shop.order((product, 1)), shop.order((product, 1))
    shop.pay(voided, "pm_unknown")

    # The stream is ordered: once a later order's events arrive, all earlier records were processed.
    shop.override(after, "cancelled")
    listener.wait_for(after, 2)

    assert [event["detail-type"] for event in listener.events_of(voided)] == ["order.created"]


@contextmanager
def discard_failed_records(stack: Stack) -> Iterator[dict[str, Any]]:
    """Let the event source mapping discard a record as soon as it fails. MiniStack limits its age, not its retries."""
    with closing(stack.client("lambda")) as client:
        (mapping,) = client.list_event_source_mappings()["EventSourceMappings"]
        client.update_event_source_mapping(UUID=mapping["UUID"], MaximumRecordAgeInSeconds=1)
        try:
            yield mapping
        finally:
            client.update_event_source_mapping(
                UUID=mapping["UUID"], MaximumRecordAgeInSeconds=mapping["MaximumRecordAgeInSeconds"]
            )


@contextmanager
def deny_publishing(stack: Stack) -> Iterator[None]:
    """Deny the publisher the permission `events:PutEvents`."""
    with closing(stack.client("iam")) as iam:
        (role,) = [r["RoleName"] for r in iam.list_roles()["Roles"] if "PublishOrderEvents" in r["RoleName"]]
        deny = {"Effect": "Deny", "Action": "events:PutEvents", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        iam.put_role_policy(RoleName=role, PolicyName="deny", PolicyDocument=document)
        try:
            yield
        finally:
            iam.delete_role_policy(RoleName=role, PolicyName="deny")


def receive_dead_letters(
    listener: Listener, outputs: Mapping[str, str], is_wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Receive dead letters until one is wanted, and return them with that one last."""
    letters: list[dict[str, Any]] = []

    def receive_letters() -> None:
        letters.extend(receive(listener.sqs, outputs["OrderEventsDeadLettersUrl"]))

    receive_until(lambda: any(map(is_wanted, letters)), receive_letters)
    return sorted(letters, key=is_wanted)


def test_unreadable_record_goes_to_the_dlq_and_blocks_no_order(
    stack: Stack, shop: HttpShop, listener: Listener, outputs: Mapping[str, str]
) -> None:
    shop.dynamodb.put_item(TableName=stack.deployment.orders_table, Item={"orderId": {"S": "ord_foreign"}})
    order = shop.order((shop.add_product(), 1))

    letters = receive_dead_letters(listener, outputs, lambda letter: letter.get("orderId") == "ord_foreign")

    assert letters[-1]["record"]["dynamodb"]["NewImage"] == {"orderId": {"S": "ord_foreign"}}
    assert [event["detail-type"] for event in listener.wait_for(order, 1)] == ["order.created"]
    assert '"stream record unreadable"' in stack.function_logs()


def test_events_that_eventbridge_refuses_go_to_the_dlq(
    stack: Stack, shop: HttpShop, listener: Listener, outputs: Mapping[str, str]
) -> None:
    with discard_failed_records(stack) as mapping, deny_publishing(stack):
        shop.order((shop.add_product(), 1))

        letters = receive_dead_letters(listener, outputs, lambda letter: "DDBStreamBatchInfo" in letter)

    assert letters[-1]["DDBStreamBatchInfo"]["streamArn"] == mapping["EventSourceArn"]
    order = shop.order((shop.add_product(), 1))
    assert [event["detail-type"] for event in listener.wait_for(order, 1)] == ["order.created"]


def test_event_source_mapping_matches_the_template(stack: Stack, outputs: Mapping[str, str]) -> None:
    with closing(stack.client("lambda")) as client, closing(stack.client("sqs")) as sqs:
        (mapping,) = client.list_event_source_mappings()["EventSourceMappings"]
        queue = sqs.get_queue_attributes(QueueUrl=outputs["OrderEventsDeadLettersUrl"], AttributeNames=["All"])

    assert mapping["EventSourceArn"] == outputs["OrdersStreamArn"]
    assert mapping["FunctionArn"].endswith(":live")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == queue["Attributes"]["QueueArn"]
    assert queue["Attributes"]["MessageRetentionPeriod"] == "1209600"


def test_stream_records_can_be_published_again(
    stack: Stack, shop: HttpShop, listener: Listener, outputs: Mapping[str, str]
) -> None:
    """See docs/recovery.md: the publisher accepts the records that `get-records` returns."""
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    first = listener.wait_for(order, 2)
    with closing(stack.client("dynamodbstreams")) as streams:
        description = streams.describe_stream(StreamArn=outputs["OrdersStreamArn"])["StreamDescription"]
        iterator = streams.get_shard_iterator(
            StreamArn=outputs["OrdersStreamArn"],
            ShardId=description["Shards"][-1]["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records: list[Any] = []
        # A page has 1,000 records, and other tests have written some before.
        while (page := streams.get_records(ShardIterator=iterator))["Records"]:
            records += page["Records"]
            iterator = page["NextShardIterator"]
    order_records = [record for record in records if record["dynamodb"]["Keys"]["orderId"]["S"] == order]
    assert len(order_records) == 3  # created, claimed, settled

    assert publish(stack, outputs, order_records) == {"batchItemFailures": []}

    again = listener.wait_for(order, 4)[2:]
    assert [event["detail"] for event in again] == [event["detail"] for event in first]


def test_current_order_state_can_be_published_from_the_table(
    stack: Stack, shop: HttpShop, listener: Listener, outputs: Mapping[str, str]
) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    first = listener.wait_for(order, 2)
    item = shop.dynamodb.get_item(TableName=stack.deployment.orders_table, Key={"orderId": {"S": order}})["Item"]

    publish(stack, outputs, [{"dynamodb": {"SequenceNumber": "0", "NewImage": item}}])

    assert listener.wait_for(order, 3)[2]["detail"] == first[1]["detail"]


def publish(stack: Stack, outputs: Mapping[str, str], records: list[dict[str, Any]]) -> Any:
    with closing(stack.client("lambda")) as client:
        payload = json.dumps({"Records": records}, default=str)
        answer = client.invoke(FunctionName=outputs["PublishOrderEventsFunction"], Payload=payload)
        assert "FunctionError" not in answer
        return json.load(answer["Payload"])


def test_published_events_can_be_replayed_from_an_archive(
    stack: Stack, shop: HttpShop, listener: Listener, outputs: Mapping[str, str]
) -> None:
    archive = f"archive-{uuid.uuid4().hex[:8]}"
    before = datetime.now(UTC) - timedelta(minutes=1)
    with closing(stack.client("events")) as events:
        made = events.create_archive(ArchiveName=archive, EventSourceArn=outputs["OrderEventsBusArn"])
        order = shop.order((shop.add_product(), 1))
        listener.wait_for(order, 1)

        events.start_replay(
            ReplayName=archive,
            EventSourceArn=made["ArchiveArn"],
            EventStartTime=before,
            EventEndTime=datetime.now(UTC) + timedelta(minutes=1),
            Destination={"Arn": outputs["OrderEventsBusArn"]},
        )

        first, replayed = listener.wait_for(order, 2)
        assert replayed["detail"] == first["detail"]
        assert replayed["replay-name"] == archive
        events.delete_archive(ArchiveName=archive)
