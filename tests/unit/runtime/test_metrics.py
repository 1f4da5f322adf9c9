"""The functions' metrics: each payment counted once by its outcome, errors, and the latency of calls."""

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
def flush_metrics(capsys: Output) -> None:
    """Flush the metrics that other tests counted and did not write."""
    write_metrics()
    capsys.readouterr()


def metrics_of_payment(shop: FunctionShop, output: Output, card: str) -> Metrics:
    order = shop.order((shop.add_product(stock=5), 1))
    output.readouterr()
    shop.pay(order, card)
    return metrics_in(output.readouterr().out)


def test_payment_measures_its_stripe_and_dynamodb_calls(shop: FunctionShop, capsys: Output) -> None:
    metrics = metrics_of_payment(shop, capsys, "pm_card_visa")

    assert [len(metrics[name]) for name in (Latency.STRIPE_CREATE, Latency.STRIPE_CONFIRM)] == [1, 1]
    assert len(metrics[Latency.DYNAMODB_TRANSACTION]) == 2
    assert all(0 < value < 60_000 for values in metrics.values() for value in values)


def test_request_writes_one_metric_line_in_the_stacks_namespace(shop: FunctionShop, capsys: Output) -> None:
    order = shop.order((shop.add_product(), 1))
    capsys.readouterr()

    shop.pay(order)

    (line,) = metric_lines(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "order-payments"
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == {"Ref": "AWS::StackName"}


def throttle(*_: Any, **__: Any) -> None:
    error: Any = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    raise ClientError(error, "GetItem")


def throttle_one_item(*_: Any, **__: Any) -> None:
    reasons = [{"Code": "None"}, {"Code": "ThrottlingError"}]
    error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    raise ClientError(error, "TransactWriteItems")


def read(operation: Callable[[], None]) -> None:
    with translate_read_errors():
        operation()


def write(operation: Callable[[], None]) -> None:
    with translate_write_errors():
        operation()


def transact(operation: Callable[..., None]) -> None:
    client: Any = SimpleNamespace(transact_write_items=operation)
    write_transaction(client, [], deadline=Deadline.after(0))


@pytest.mark.parametrize(
    ("call", "operation", "error"),
    [
        (read, throttle, Busy),
        (write, throttle, WriteOutcomeUnknown),
        (transact, throttle, WriteOutcomeUnknown),
        (transact, throttle_one_item, Busy),
    ],
)
def test_throttled_dynamodb_call_is_counted(
    call: Callable[..., None], operation: Callable[..., None], error: type[Exception], capsys: Output
) -> None:
    with pytest.raises(error):
        call(operation)
    write_metrics()

    assert metrics_in(capsys.readouterr().out)[Count.THROTTLED] == [1]


def test_reading_an_order_writes_no_metrics(shop: FunctionShop, capsys: Output) -> None:
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
def test_payment_function_counts_unknown_and_voided_payments(
    shop: FunctionShop, capsys: Output, card: str, counted: Metrics
) -> None:
    metrics = metrics_of_payment(shop, capsys, card)

    assert {name: metrics[name] for name in metrics if name in tuple(Count)} == counted


@pytest.mark.parametrize(
    ("error", "status", "counted"),
    [
        (EndpointConnectionError(endpoint_url="https://dynamodb"), 503, Count.BUSY),
        (ZeroDivisionError(), 500, Count.INTERNAL_ERROR),
    ],
    ids=["busy", "internal error"],
)
def test_failed_request_is_counted(
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


def test_payment_refused_by_stripe_is_not_an_internal_error(
    shop: FunctionShop, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))

    def refuse(*_: object, **__: object) -> None:
        raise stripe.AuthenticationError("Invalid API key", http_status=401)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(DummyStripeHTTPClient, "request", refuse)
    capsys.readouterr()

    assert shop.pay(order).status == 502
    assert Count.INTERNAL_ERROR not in metrics_in(capsys.readouterr().out)


def test_failed_reconciliation_counts_as_an_internal_error(
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


def test_write_without_a_response_is_measured(capsys: Output) -> None:
    with pytest.raises(WriteOutcomeUnknown), translate_write_errors():
        raise EndpointConnectionError(endpoint_url="https://dynamodb")
    write_metrics()

    assert len(metrics_in(capsys.readouterr().out)[Latency.DYNAMODB_WRITE]) == 1


@pytest.fixture
def publisher(dynamodb: object) -> ModuleType:  # noqa: ARG001 - starts moto
    boto3.client("events").create_event_bus(Name="order-events")
    return load_function("publish_order_events")


def test_publisher_counts_settlements_from_the_stream(publisher: ModuleType, capsys: Output) -> None:
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


def test_override_is_not_counted_as_a_payment(publisher: ModuleType, capsys: Output) -> None:
    orders = [place(), place()]
    overridden = [
        change(order, status=status, reason=Reason("admin_override", "Lost."), override=Override("a", utc_now(), "L"))
        for order, status in zip(orders, ("confirmed", "cancelled"), strict=True)
    ]

    publisher.handler({"Records": list(map(record, orders, overridden))}, Context())

    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Count.SETTLED_BY_HAND] == [2.0]
    assert sum(metrics[Count.PAYMENT_CONFIRMED]) == 0
    assert sum(metrics[Count.PAYMENT_CANCELLED]) == 0


def test_unpublished_event_is_not_counted(
    publisher: ModuleType, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher.bus, "publish", lambda events, **_: len(events) - 1)

    publisher.handler({"Records": [creation(place()), creation(place())]}, Context())

    assert metrics_in(capsys.readouterr().out)[Count.ORDER_CREATED] == [1.0]


def test_every_reconciler_run_reports_the_age_of_the_oldest_attempt(shop: FunctionShop, capsys: Output) -> None:
    assert shop is not None
    reconciler = load_function("reconcile_payments")
    capsys.readouterr()

    reconciler.handler({}, Context(50))

    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Gauge.OLDEST_UNSETTLED] == [0.0]
    assert metrics[Count.PAYMENT_RECONCILED] == [0.0]
