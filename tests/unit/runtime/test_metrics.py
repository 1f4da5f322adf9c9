"""What the functions count and measure: each payment once, by its end, and what they waited for."""

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
import stripe
from botocore.exceptions import ClientError, EndpointConnectionError

from delivery.rendering import template
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.functions import Context, load_function
from order_payments.domain.errors import Busy
from order_payments.domain.orders import Override, Reason
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.metric_names import Count, Gauge, Latency
from order_payments.runtime.observability import write_metrics
from order_payments.storage.dynamodb import (
    WriteOutcomeUnknown,
    translate_read_errors,
    translate_write_errors,
    write_transaction,
)
from tests.support.function_shop import FunctionShop
from tests.support.metrics import Metrics, metric_lines, metrics_in
from tests.support.order_stream import cancel, change, confirmation, creation, place, record
from tests.support.shop import ALICE

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_counted_yet(capsys: Output) -> None:
    """Write what other tests counted without a handler that writes it."""
    write_metrics()
    capsys.readouterr()


def of_a_payment(shop: FunctionShop, output: Output, card: str) -> Metrics:
    order = shop.order((shop.add_product(stock=5), 1))
    output.readouterr()
    shop.pay(order, card)
    return metrics_in(output.readouterr().out)


def test_a_payment_tells_what_stripe_and_dynamodb_took(shop: FunctionShop, capsys: Output) -> None:
    metrics = of_a_payment(shop, capsys, "pm_card_visa")

    assert [len(metrics[name]) for name in (Latency.STRIPE_CREATE, Latency.STRIPE_CONFIRM)] == [1, 1]
    assert len(metrics[Latency.DYNAMODB_TRANSACTION]) == 2
    assert all(0 < value < 60_000 for values in metrics.values() for value in values)


def test_all_metrics_of_a_request_are_one_line_of_the_stacks_namespace(shop: FunctionShop, capsys: Output) -> None:
    order = shop.order((shop.add_product(), 1))
    capsys.readouterr()

    shop.pay(order)

    (line,) = metric_lines(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "order-payments"
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == {"Ref": "AWS::StackName"}


def throttled(*_: Any, **__: Any) -> None:
    error: Any = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    raise ClientError(error, "GetItem")


def throttled_in_part(*_: Any, **__: Any) -> None:
    reasons = [{"Code": "None"}, {"Code": "ThrottlingError"}]
    error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    raise ClientError(error, "TransactWriteItems")


def read(refused: Callable[[], None]) -> None:
    with translate_read_errors():
        refused()


def write(refused: Callable[[], None]) -> None:
    with translate_write_errors():
        refused()


def transact(refused: Callable[..., None]) -> None:
    client: Any = SimpleNamespace(transact_write_items=refused)
    write_transaction(client, [], deadline=Deadline.after(0))


@pytest.mark.parametrize(
    ("call", "refused", "end"),
    [
        (read, throttled, Busy),
        (write, throttled, WriteOutcomeUnknown),
        (transact, throttled, WriteOutcomeUnknown),
        (transact, throttled_in_part, Busy),
    ],
)
def test_a_call_that_dynamodb_throttles_is_counted(
    call: Callable[..., None], refused: Callable[..., None], end: type[Exception], capsys: Output
) -> None:
    with pytest.raises(end):
        call(refused)
    write_metrics()

    assert metrics_in(capsys.readouterr().out)[Count.THROTTLED] == [1]


def test_a_read_writes_no_metrics(shop: FunctionShop, capsys: Output) -> None:
    order = shop.order((shop.add_product(), 1))
    capsys.readouterr()

    shop.status(order)

    assert metric_lines(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("card", "counted"),
    [
        ("pm_card_visa", {}),
        ("pm_card_chargeDeclined", {}),
        ("pm_dummy_timeout_after_charge", {Count.PAYMENT_UNKNOWN: [1.0]}),
        ("pm_unknown", {Count.PAYMENT_VOIDED: [1.0]}),
    ],
)
def test_the_paying_function_counts_what_no_settlement_tells(
    shop: FunctionShop, capsys: Output, card: str, counted: Metrics
) -> None:
    metrics = of_a_payment(shop, capsys, card)

    assert {name: metrics[name] for name in metrics if name in tuple(Count)} == counted


@pytest.mark.parametrize(
    ("error", "status", "counted"),
    [
        (EndpointConnectionError(endpoint_url="https://dynamodb"), 503, Count.BUSY),
        (ZeroDivisionError(), 500, Count.INTERNAL_ERROR),
    ],
    ids=["busy", "error of ours"],
)
def test_request_that_fails_is_counted(
    shop: FunctionShop,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    counted: Count,
) -> None:
    order = shop.order((shop.add_product(), 1))

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(shop.function("get_order_status").components.dynamodb, "get_item", fail)
    capsys.readouterr()

    assert shop.send("GET", f"/orders/{order}/status", ALICE).status == status
    assert metrics_in(capsys.readouterr().out) == {counted: [1.0]}


def test_payment_that_the_provider_refuses_is_no_internal_error(
    shop: FunctionShop, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))

    def refuse(*_: object, **__: object) -> None:
        raise stripe.AuthenticationError("Invalid API key", http_status=401)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(DummyStripeHTTPClient, "request", refuse)
    capsys.readouterr()

    assert shop.pay(order).status == 502
    assert Count.INTERNAL_ERROR not in metrics_in(capsys.readouterr().out)


def test_order_that_cannot_be_reconciled_is_counted_as_an_internal_error(
    shop: FunctionShop, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    reconciler = load_function("reconcile_payments")
    monkeypatch.setattr(reconciler, "LEASE", timedelta(seconds=-60))
    monkeypatch.setattr(reconciler, "reconcile", lambda *_, **__: 1 / 0)
    capsys.readouterr()

    reconciler.handler({}, Context(50))

    assert metrics_in(capsys.readouterr().out)[Count.INTERNAL_ERROR] == [1.0]


def test_a_write_that_nobody_answers_is_measured(capsys: Output) -> None:
    with pytest.raises(WriteOutcomeUnknown), translate_write_errors():
        raise EndpointConnectionError(endpoint_url="https://dynamodb")
    write_metrics()

    assert len(metrics_in(capsys.readouterr().out)[Latency.DYNAMODB_WRITE]) == 1


@pytest.fixture
def publisher(dynamodb: object) -> ModuleType:  # noqa: ARG001 - moto, which has the bus, too
    boto3.client("events").create_event_bus(Name="order-events")
    return load_function("publish_order_events")


def test_settlements_are_counted_where_the_stream_tells_of_them(publisher: ModuleType, capsys: Output) -> None:
    paid, declined, other = place(), place(), place()
    refused = change(other, status="cancelled", reason=Reason("Ünknown reason", "Something."))
    records = [*map(creation, (paid, declined, other)), confirmation(paid), record(declined, cancel(declined))]

    publisher.handler({"Records": [*records, record(other, refused)]}, Context())

    output = capsys.readouterr().out
    metrics = metrics_in(output)
    assert metrics[Count.ORDER_CREATED] == [3.0]
    assert metrics[Count.PAYMENT_CONFIRMED] == [1.0]
    assert sum(metrics[Count.PAYMENT_CANCELLED]) == 2.0
    assert metrics_in(output, reason="card_declined") == {Count.PAYMENT_CANCELLED: [1.0]}
    assert metrics_in(output, reason="other") == {Count.PAYMENT_CANCELLED: [1.0]}


def test_what_an_admin_settled_is_no_payment(publisher: ModuleType, capsys: Output) -> None:
    orders = [place(), place()]
    by_hand = [
        change(order, status=status, reason=Reason("admin_override", "Lost."), override=Override("a", utc_now(), "L"))
        for order, status in zip(orders, ("confirmed", "cancelled"), strict=True)
    ]

    publisher.handler({"Records": list(map(record, orders, by_hand))}, Context())

    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Count.SETTLED_BY_HAND] == [2.0]
    assert sum(metrics[Count.PAYMENT_CONFIRMED]) == 0
    assert sum(metrics[Count.PAYMENT_CANCELLED]) == 0


def test_what_was_not_published_is_not_counted(
    publisher: ModuleType, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher.bus, "publish", lambda events, **_: len(events) - 1)

    publisher.handler({"Records": [creation(place()), creation(place())]}, Context())

    assert metrics_in(capsys.readouterr().out)[Count.ORDER_CREATED] == [1.0]


def test_every_run_of_the_reconciler_tells_how_old_the_oldest_is(shop: FunctionShop, capsys: Output) -> None:
    assert shop is not None
    reconciler = load_function("reconcile_payments")
    capsys.readouterr()

    reconciler.handler({}, Context(50))

    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Gauge.OLDEST_UNSETTLED] == [0.0]
    assert metrics[Count.PAYMENT_RECONCILED] == [0.0]
