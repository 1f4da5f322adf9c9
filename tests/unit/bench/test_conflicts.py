"""Transaction conflicts as on AWS, in front of an engine that has none."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from bench.conflicts import ONE_WAY_SECONDS, Conflicts
from bench.virtual_time import VirtualTime
from order_payments.domain.errors import Busy
from order_payments.runtime.clock import Deadline
from order_payments.storage.dynamodb import TransactionConflict, translate_write_errors, write_transaction

HOLD_SECONDS = 0.010
TABLE = "ProductsTable"


class Scene:
    """Items, and actions on them at points in virtual time."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.client = client
        self.time = VirtualTime()
        self.conflicts = Conflicts(self.time, hold_seconds=HOLD_SECONDS, hash_keys={TABLE: "productId"})
        self._acts: list[Callable[[], None]] = []
        self.responses: dict[str, Any] = {}
        self.responded_at: dict[str, float] = {}

    def at(self, moment: float, name: str, act: Callable[[], object]) -> None:
        def perform() -> None:
            self.time.sleep(moment)
            try:
                self.responses[name] = act()
            except ClientError as error:
                self.responses[name] = error
            self.responded_at[name] = self.time.monotonic()

        self._acts.append(perform)

    def transaction_at(self, moment: float, *items: str) -> None:
        """Add a transaction that increments each item, named after its items."""
        writes: Any = [{"Update": increment(item)} for item in items]
        self.at(moment, " ".join(items), lambda: self.client.transact_write_items(TransactItems=writes))

    def run(self) -> None:
        self.conflicts.intercept(self.client)
        self.time.run(self._acts)

    def reasons(self, name: str) -> list[str]:
        """Return the cancellation reasons of a transaction, by position."""
        response: Any = self.responses[name].response
        assert response["Error"]["Code"] == "TransactionCanceledException"
        return [reason["Code"] for reason in response["CancellationReasons"]]

    def has_succeeded(self, name: str) -> bool:
        return not isinstance(self.responses[name], ClientError)


def increment(item: str) -> Any:
    return {
        "TableName": TABLE,
        "Key": {"productId": {"S": item}},
        "UpdateExpression": "ADD written :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }


@pytest.fixture
def scene(dynamodb: DynamoDBClient) -> Scene:
    return Scene(dynamodb)


def test_transaction_on_a_held_item_is_rejected_with_its_reasons(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(0.009, "c", "b", "d")

    scene.run()

    assert scene.has_succeeded("a b")
    assert scene.reasons("c b d") == ["None", "TransactionConflict", "None"]
    assert scene.conflicts.transactions == {"let in": 1, "rejected": 1}


def test_rejected_request_does_not_reach_the_engine(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.at(1, "read", lambda: scene.client.scan(TableName=TABLE)["Items"])

    scene.run()

    assert scene.responses["read"] == [{"productId": {"S": "a"}, "written": {"N": "1"}}]


def test_items_are_released_after_the_hold(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(HOLD_SECONDS, "b", "c")

    scene.run()

    assert scene.has_succeeded("b c")


def test_transactions_without_common_items_do_not_conflict(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(0, "c", "d")

    scene.run()

    assert scene.has_succeeded("c d")


def test_rejected_transaction_holds_nothing(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.transaction_at(0.002, "b")

    scene.run()

    assert not scene.has_succeeded("a b")
    assert scene.has_succeeded("b")


def test_transaction_whose_condition_fails_holds_its_items(scene: Scene) -> None:
    conditional = increment("a") | {"ConditionExpression": "attribute_exists(productId)"}
    scene.at(0, "refused", lambda: scene.client.transact_write_items(TransactItems=[{"Update": conditional}]))
    scene.transaction_at(0.005, "a")

    scene.run()

    assert scene.reasons("refused") == ["ConditionalCheckFailed"]
    assert scene.reasons("a") == ["TransactionConflict"]


@pytest.mark.parametrize("held", ["a", "b"])
def test_write_is_rejected_only_if_its_item_is_held(scene: Scene, held: str) -> None:
    scene.transaction_at(0, held)
    scene.at(0.005, "write", lambda: scene.client.update_item(**increment("b")))

    scene.run()

    assert scene.has_succeeded("write") is (held == "a")
    if held == "b":
        assert scene.responses["write"].response["Error"]["Code"] == "TransactionConflictException"


def test_write_of_one_item_holds_nothing(scene: Scene) -> None:
    scene.at(0, "write", lambda: scene.client.update_item(**increment("a")))
    scene.transaction_at(0, "a")

    scene.run()

    assert scene.has_succeeded("write")
    assert scene.has_succeeded("a")


def test_held_item_can_be_read(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.at(0.005, "read", lambda: scene.client.get_item(TableName=TABLE, Key={"productId": {"S": "a"}}))

    scene.run()

    assert scene.has_succeeded("read")


def test_put_item_is_identified_by_its_key(scene: Scene) -> None:
    put = {"TableName": TABLE, "Item": {"name": {"S": "tea"}, "productId": {"S": "a"}}}
    scene.at(0, "put", lambda: scene.client.transact_write_items(TransactItems=[{"Put": put}]))
    scene.transaction_at(0.005, "a")

    scene.run()

    assert scene.reasons("a") == ["TransactionConflict"]


def test_each_response_takes_its_time(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.at(0, "read", lambda: scene.client.get_item(TableName=TABLE, Key={"productId": {"S": "a"}}))

    scene.run()

    round_trip = 2 * ONE_WAY_SECONDS
    assert scene.responded_at == {
        "a": pytest.approx(HOLD_SECONDS + round_trip),
        "a b": pytest.approx(0.001 + round_trip),
        "read": pytest.approx(round_trip),
    }


def test_service_recognizes_the_rejections(scene: Scene) -> None:
    def write_once() -> str:
        try:
            with translate_write_errors():
                scene.client.update_item(**increment("a"))
        except TransactionConflict:
            return "contended"
        return "written"

    def transact_once() -> str:
        try:
            write_transaction(scene.client, [{"Update": increment("a")}], deadline=Deadline.after(-1))
        except Busy:
            return "busy"
        return "written"

    scene.transaction_at(0, "a")
    scene.at(0.004, "write", write_once)
    scene.at(0.005, "transaction", transact_once)
    scene.at(0.010, "later", transact_once)

    scene.run()

    assert [scene.responses[name] for name in ("write", "transaction", "later")] == ["contended", "busy", "written"]
