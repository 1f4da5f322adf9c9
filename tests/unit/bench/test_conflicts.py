"""Conflicts as AWS has them, laid before an engine that has none."""

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
    """Items, and those who write them at moments of virtual time."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.client = client
        self.time = VirtualTime()
        self.conflicts = Conflicts(self.time, hold_seconds=HOLD_SECONDS, hash_keys={TABLE: "productId"})
        self._acts: list[Callable[[], None]] = []
        self.answers: dict[str, Any] = {}
        self.answered_at: dict[str, float] = {}

    def at(self, moment: float, name: str, act: Callable[[], object]) -> None:
        def perform() -> None:
            self.time.sleep(moment)
            try:
                self.answers[name] = act()
            except ClientError as error:
                self.answers[name] = error
            self.answered_at[name] = self.time.monotonic()

        self._acts.append(perform)

    def transaction_at(self, moment: float, *items: str) -> None:
        """A transaction that counts each item up, by the names of its items."""
        writes: Any = [{"Update": counting(item)} for item in items]
        self.at(moment, " ".join(items), lambda: self.client.transact_write_items(TransactItems=writes))

    def play(self) -> None:
        self.conflicts.lie_before(self.client)
        self.time.run(self._acts)

    def reasons(self, name: str) -> list[str]:
        """Why a transaction was cancelled, by position."""
        response: Any = self.answers[name].response
        assert response["Error"]["Code"] == "TransactionCanceledException"
        return [reason["Code"] for reason in response["CancellationReasons"]]

    def is_made(self, name: str) -> bool:
        return not isinstance(self.answers[name], ClientError)


def counting(item: str) -> Any:
    return {
        "TableName": TABLE,
        "Key": {"productId": {"S": item}},
        "UpdateExpression": "ADD written :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }


@pytest.fixture
def scene(dynamodb: DynamoDBClient) -> Scene:
    return Scene(dynamodb)


def test_a_transaction_on_an_item_that_another_holds_is_rejected_and_told_where(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(0.009, "c", "b", "d")

    scene.play()

    assert scene.is_made("a b")
    assert scene.reasons("c b d") == ["None", "TransactionConflict", "None"]
    assert scene.conflicts.transactions == {"let in": 1, "rejected": 1}


def test_what_is_rejected_never_reaches_the_engine(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.at(1, "read", lambda: scene.client.scan(TableName=TABLE)["Items"])

    scene.play()

    assert scene.answers["read"] == [{"productId": {"S": "a"}, "written": {"N": "1"}}]


def test_items_are_free_again_after_the_hold(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(HOLD_SECONDS, "b", "c")

    scene.play()

    assert scene.is_made("b c")


def test_transactions_with_no_item_in_common_do_not_meet(scene: Scene) -> None:
    scene.transaction_at(0, "a", "b")
    scene.transaction_at(0, "c", "d")

    scene.play()

    assert scene.is_made("c d")


def test_a_transaction_that_was_rejected_holds_nothing(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.transaction_at(0.002, "b")

    scene.play()

    assert not scene.is_made("a b")
    assert scene.is_made("b")


def test_a_transaction_whose_condition_fails_holds_its_items_all_the_same(scene: Scene) -> None:
    conditional = counting("a") | {"ConditionExpression": "attribute_exists(productId)"}
    scene.at(0, "refused", lambda: scene.client.transact_write_items(TransactItems=[{"Update": conditional}]))
    scene.transaction_at(0.005, "a")

    scene.play()

    assert scene.reasons("refused") == ["ConditionalCheckFailed"]
    assert scene.reasons("a") == ["TransactionConflict"]


@pytest.mark.parametrize("held", ["a", "b"])
def test_a_write_of_a_held_item_is_rejected_and_one_of_another_is_not(scene: Scene, held: str) -> None:
    scene.transaction_at(0, held)
    scene.at(0.005, "write", lambda: scene.client.update_item(**counting("b")))

    scene.play()

    assert scene.is_made("write") is (held == "a")
    if held == "b":
        assert scene.answers["write"].response["Error"]["Code"] == "TransactionConflictException"


def test_a_write_of_one_item_holds_nothing(scene: Scene) -> None:
    scene.at(0, "write", lambda: scene.client.update_item(**counting("a")))
    scene.transaction_at(0, "a")

    scene.play()

    assert scene.is_made("write")
    assert scene.is_made("a")


def test_a_held_item_can_be_read(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.at(0.005, "read", lambda: scene.client.get_item(TableName=TABLE, Key={"productId": {"S": "a"}}))

    scene.play()

    assert scene.is_made("read")


def test_a_whole_item_that_is_put_is_known_by_its_key(scene: Scene) -> None:
    put = {"TableName": TABLE, "Item": {"name": {"S": "tea"}, "productId": {"S": "a"}}}
    scene.at(0, "put", lambda: scene.client.transact_write_items(TransactItems=[{"Put": put}]))
    scene.transaction_at(0.005, "a")

    scene.play()

    assert scene.reasons("a") == ["TransactionConflict"]


def test_each_answer_takes_its_time(scene: Scene) -> None:
    scene.transaction_at(0, "a")
    scene.transaction_at(0.001, "a", "b")
    scene.at(0, "read", lambda: scene.client.get_item(TableName=TABLE, Key={"productId": {"S": "a"}}))

    scene.play()

    there_and_back = 2 * ONE_WAY_SECONDS
    assert scene.answered_at == {
        "a": pytest.approx(HOLD_SECONDS + there_and_back),
        "a b": pytest.approx(0.001 + there_and_back),
        "read": pytest.approx(there_and_back),
    }


def test_the_service_takes_the_rejections_for_what_they_are(scene: Scene) -> None:
    def write_once() -> str:
        try:
            with translate_write_errors():
                scene.client.update_item(**counting("a"))
        except TransactionConflict:
            return "contended"
        return "written"

    def transact_once() -> str:
        try:
            write_transaction(scene.client, [{"Update": counting("a")}], deadline=Deadline.after(-1))
        except Busy:
            return "busy"
        return "written"

    scene.transaction_at(0, "a")
    scene.at(0.004, "write", write_once)
    scene.at(0.005, "transaction", transact_once)
    scene.at(0.010, "later", transact_once)

    scene.play()

    assert [scene.answers[name] for name in ("write", "transaction", "later")] == ["contended", "busy", "written"]
