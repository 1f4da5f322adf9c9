"""The reconciler's run: everything old enough is looked at, nothing blocks the rest, and it stops in time."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from order_payments.clock import Deadline
from tests.support.function_shop import FunctionShop
from tests.support.lambda_functions import Context, load_function
from tests.support.shop import Stock
from tests.support.template import create_tables

IN_AN_HOUR = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FunctionShop]:
    FunctionShop.set_environment(monkeypatch)
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        create_tables(dynamodb)
        yield FunctionShop(dynamodb)


@pytest.fixture
def reconciler(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> ModuleType:  # noqa: ARG001 - needs tables
    reconciler = load_function("reconcile_payments")
    # One at a time: moto does not isolate transactions. `tests/engine` tries several at once.
    monkeypatch.setattr(reconciler, "CONCURRENCY", 1)
    return reconciler


def run(reconciler: ModuleType, *, now: datetime = IN_AN_HOUR, seconds: float = 50) -> Any:
    return reconciler.reconcile_payments(
        reconciler.orders, reconciler.stripe, now=now, deadline=Deadline.after(seconds)
    )


def leave_unknown(shop: FunctionShop, product: str, card: str = "pm_dummy_timeout_after_charge") -> str:
    order = shop.order((product, 1))
    assert shop.pay(order, card).status == 202
    return order


def test_what_was_charged_is_confirmed_and_what_was_not_is_cancelled(
    shop: FunctionShop, reconciler: ModuleType
) -> None:
    product = shop.add_product(stock=5)
    charged = leave_unknown(shop, product, "pm_dummy_timeout_after_charge")
    open_ = leave_unknown(shop, product, "pm_dummy_timeout_before_charge")

    tally = run(reconciler)

    assert (tally.settled, tally.left, tally.failed) == (2, 0, 0)
    assert shop.status(charged)["status"] == "confirmed"
    assert shop.status(open_)["reason"]["code"] == "payment_abandoned"
    assert shop.stock(product) == Stock(stock=4, reserved=0, available=4)


def test_an_attempt_within_its_lease_is_its_payers(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())

    tally = run(reconciler, now=datetime.now(UTC))

    assert (tally.settled, tally.left, tally.failed) == (0, 0, 0)
    assert shop.status(order)["status"] == "pending"


def test_a_payment_that_is_processing_is_left_and_its_age_told(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product(), "pm_dummy_processing")

    tally = run(reconciler)

    assert (tally.settled, tally.left, tally.failed) == (0, 1, 0)
    assert tally.oldest_seconds >= 0
    assert shop.status(order)["status"] == "pending"


def test_more_attempts_than_a_batch_are_all_settled(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 2)
    product = shop.add_product(stock=50)
    orders = [leave_unknown(shop, product) for _ in range(9)]

    tally = run(reconciler)

    assert tally.settled == 9
    assert {shop.status(order)["status"] for order in orders} == {"confirmed"}


def test_attempts_that_cannot_be_settled_do_not_keep_the_others_from_it(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 1)
    product = shop.add_product(stock=50)
    for _ in range(4):
        leave_unknown(shop, product, "pm_dummy_processing")
    good = [leave_unknown(shop, product) for _ in range(4)]

    tally = run(reconciler)

    assert (tally.settled, tally.left) == (4, 4)
    assert {shop.status(order)["status"] for order in good} == {"confirmed"}


def test_an_order_that_cannot_be_read_fails_alone(shop: FunctionShop, reconciler: ModuleType) -> None:
    product = shop.add_product(stock=5)
    broken, good = leave_unknown(shop, product), leave_unknown(shop, product)
    shop.dynamodb.update_item(
        TableName="OrdersTable", Key={"orderId": {"S": broken}}, UpdateExpression="REMOVE totalAmount"
    )

    tally = run(reconciler)

    assert (tally.settled, tally.failed) == (1, 1)
    assert shop.status(good)["status"] == "confirmed"


def test_a_run_stops_in_time_and_the_next_one_goes_on(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())

    assert run(reconciler, seconds=reconciler.TIME_FOR_A_BATCH_SECONDS - 1).settled == 0
    assert run(reconciler).settled == 1
    assert shop.status(order)["status"] == "confirmed"


def test_the_function_answers_with_its_tally(shop: FunctionShop, reconciler: ModuleType) -> None:
    leave_unknown(shop, shop.add_product())

    answer = reconciler.handler({"source": "aws.events"}, Context(50))

    assert json.loads(json.dumps(answer)) == {"settled": 0, "left": 0, "failed": 0, "oldest_seconds": 0}
