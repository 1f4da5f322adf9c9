"""The audit reports each kind of mismatch and no consistent data."""

import itertools
import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import stripe
from pydantic import ValidationError

from harness.functions import Context
from order_payments.audit import check as audit
from order_payments.audit import report as audit_report
from order_payments.domain.errors import PaymentProviderError
from order_payments.runtime.clock import rfc3339, utc_now
from order_payments.runtime.metric_names import Count
from tests.support.auditor import (
    NO_RECHECK_DELAY,
    Auditor,
    charge_late,
    external_stripe,
    record_unsent_refund,
    write_order,
    write_product,
)
from tests.support.function_shop import FunctionShop
from tests.support.metrics import metrics_in
from tests.support.shop import ADMIN


def place_orders_of_every_kind(shop: FunctionShop) -> str:
    """Place one order for each possible outcome and return their product."""
    product = shop.add_product(stock=20)
    for card in (
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_unknown",
        "pm_dummy_timeout_after_charge",
        "pm_dummy_timeout_before_charge",
        "pm_dummy_processing",
    ):
        shop.pay(shop.order((product, 1)), card)
    shop.pay(shop.order((product, 1000)))
    for status in ("confirmed", "cancelled"):
        shop.override(shop.order((product, 1)), status)
    shop.order((product, 1))
    return product


def test_consistent_shop_has_no_mismatch(
    shop: FunctionShop, auditor: Auditor, capsys: pytest.CaptureFixture[str]
) -> None:
    place_orders_of_every_kind(shop)
    # A product of another service, and an intent of another system.
    write_product(shop, "of-another-service", "SET note = :note", note="sold elsewhere")
    external_stripe(shop).v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "metadata": {"orderId": "theirs"}}
    )

    report = auditor.run()

    assert report["findings"] == []
    assert (report["mismatches"], report["unjudged"]) == (0, 0)
    assert (report["products"], report["orders"]) == (2, 10)
    assert report["charges"] == 2
    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Count.MISMATCH] == [0.0]
    assert set(metrics[Count.AUDIT_UNJUDGED]) == {0.0}


def test_audit_changes_no_data(shop: FunctionShop, auditor: Auditor) -> None:
    product = place_orders_of_every_kind(shop)
    write_product(shop, product, "SET available = :none", none=0)
    before = [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")]

    assert auditor.kinds() == ["holds_differ"]

    assert [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")] == before


def test_product_that_changes_between_reads_is_not_judged(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)
    available = iter(range(7, -20, -1))

    def change() -> None:
        write_product(shop, product, "SET available = :available", available=max(next(available), 0))

    report = auditor.run(between=change, lookAgainAfterSeconds=60)

    assert report["findings"] == []
    assert report["unjudged"] == 1


def test_difference_that_disappears_is_not_reported(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)

    def settle() -> None:
        write_product(shop, product, "SET available = :available", available=10)

    report = auditor.run(between=settle, lookAgainAfterSeconds=60)

    assert (report["findings"], report["unjudged"]) == ([], 0)


def test_audit_requests_a_wait_before_it_reads_again(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)

    state = auditor.function.handler({}, Context(600))

    assert (state["done"], state["waitSeconds"], state["findings"]) == (False, 60, [])
    waits = 0
    while not state["done"]:
        waits += state["waitSeconds"] > 0
        state = auditor.function.handler(state, Context(600))
    assert (waits, len(state["findings"])) == (2, 1)


def test_charge_of_an_unreadable_order_is_not_reported_as_unknown(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    write_order(shop, order, "REMOVE createdAt")

    assert auditor.kinds() == ["order_unreadable"]


def test_unreadable_order_is_reported_for_manual_review(shop: FunctionShop, auditor: Auditor) -> None:
    write_order(shop, "ord_foreign", "SET note = :note", note="x")

    assert auditor.kinds() == ["order_unreadable"]
    (step,) = auditor.plan()
    assert step["action"] == "look"
    assert auditor.apply([step]) == ["not done: an operator has to decide"]


@pytest.mark.parametrize("has_payment", [True, False])
def test_order_confirmed_without_a_charge_is_reported_for_manual_review(
    shop: FunctionShop, auditor: Auditor, *, has_payment: bool
) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1))
    if has_payment:
        shop.pay(order, "pm_card_chargeDeclined")
    write_order(shop, order, "SET #status = :confirmed REMOVE reason", confirmed="confirmed")

    assert auditor.kinds() == ["confirmed_without_charge"]
    (step,) = auditor.plan()
    assert step["action"] == "look"
    assert order in step["tells"]


def test_orders_before_since_are_not_compared_with_stripe(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_chargeDeclined")
    write_order(
        shop,
        order,
        "SET #status = :status, updatedAt = :then REMOVE reason",
        status="confirmed",
        then=rfc3339(utc_now()),
    )

    report = auditor.run(since=rfc3339(utc_now() + timedelta(seconds=10)))

    assert report["findings"] == []


def test_charge_refunded_in_the_dashboard_is_not_a_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    external_stripe(shop).v1.refunds.create({"payment_intent": intent})

    assert auditor.kinds() == []


def test_charge_within_the_grace_period_is_not_reported(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CHARGE_GRACE", timedelta(minutes=10))
    charge_late(shop, shop.order((shop.add_product(), 1)))

    assert auditor.kinds() == []


def test_charge_of_a_deleted_order_is_reported_for_manual_review(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    shop.dynamodb.delete_item(TableName="OrdersTable", Key={"orderId": {"S": order}})

    assert auditor.kinds() == ["charged_for_unknown_order"]
    assert [step["action"] for step in auditor.plan()] == ["look"]


def time_out(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Make a method of Stripe's intents time out."""

    def fail(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(stripe.PaymentIntentService, method, fail)


def pay(shop: FunctionShop) -> None:
    shop.pay(shop.order((shop.add_product(), 1)))


@pytest.mark.parametrize("prepare", [pay, record_unsent_refund])
def test_nothing_is_judged_while_stripe_times_out(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[FunctionShop], object]
) -> None:
    prepare(shop)
    time_out(monkeypatch, "retrieve")

    report = auditor.run()
    assert (report["findings"], report["unjudged"]) == ([], 1)


def test_large_audit_continues_page_by_page_over_several_invocations(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE_ITEMS", 2)
    product = shop.add_product(stock=100)
    for _ in range(5):
        shop.pay(shop.order((product, 1)))
    monkeypatch.setattr(auditor.function, "AUDIT_REPORT_SECONDS", 600.0 - audit.PAGE_TIMEOUT_SECONDS - 0.01)
    states: list[dict[str, Any]] = []

    state: dict[str, Any] = NO_RECHECK_DELAY
    while not state.get("done"):
        state = auditor.function.handler(state, Context(600))
        states.append(state)

    assert len(states) > 3
    assert (state["orders"], state["charges"], state["findings"]) == (5, 5, [])


def test_report_keeps_a_limited_number_of_findings(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_report, "MAXIMUM_FINDINGS", 2)
    for number in range(5):
        write_order(shop, f"ord_{number}", "SET note = :note", note="x")

    report = auditor.run()

    assert (len(report["findings"]), report["mismatches"]) == (2, 5)


@pytest.mark.parametrize(
    ("update", "values", "kind"),
    [
        ("SET stock = :stock", {"stock": "10"}, "product_unreadable"),
        ("SET stock = :stock", {"stock": Decimal("9.5")}, "product_unreadable"),
        ("SET available = :available", {"available": True}, "product_unreadable"),
        ("REMOVE stock", {}, "product_unreadable"),
        ("REMOVE unitPrice", {}, "product_unreadable"),
        ("SET unitPrice = :price", {"price": Decimal("45.99")}, "product_unreadable"),
        ("SET currency = :currency", {"currency": "zzz"}, "product_unreadable"),
        ("SET stock = :stock, available = :stock", {"stock": -1}, "stock_out_of_range"),
        ("SET available = :available", {"available": 11}, "stock_out_of_range"),
    ],
    ids=[
        "text",
        "fraction",
        "boolean",
        "no stock",
        "no price",
        "fractional price",
        "unknown currency",
        "negative",
        "more than there is",
    ],
)
def test_product_that_cannot_be_sold_is_reported(
    shop: FunctionShop, auditor: Auditor, update: str, values: dict[str, Any], kind: str
) -> None:
    write_product(shop, shop.add_product(stock=10), update, **values)

    assert auditor.kinds() == [kind]


def test_product_of_another_service_without_stock_is_ignored(shop: FunctionShop, auditor: Auditor) -> None:
    write_product(shop, "gift-card", "SET note = :note", note="sold elsewhere")

    assert auditor.kinds() == []


def test_product_deleted_while_a_payment_holds_it_is_reported(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=5)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_after_charge")
    shop.dynamodb.delete_item(TableName="ProductsTable", Key={"productId": {"S": product}})

    (finding,) = auditor.run()["findings"]

    assert (finding["kind"], finding["productId"]) == ("product_missing", product)


def test_total_that_differs_from_the_sum_of_its_lines_is_reported(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    write_order(shop, order, "SET totalAmount = :total", total=-1)

    (finding,) = auditor.run()["findings"]

    assert (finding["kind"], finding["orderId"]) == ("order_does_not_add_up", order)


def test_refund_that_was_recorded_but_not_made_is_reported(shop: FunctionShop, auditor: Auditor) -> None:
    record_unsent_refund(shop)

    assert auditor.kinds() == ["charged_without_order"]


def test_refund_made_during_the_audit_is_not_a_mismatch(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, intent = record_unsent_refund(shop)
    list_intents = type(auditor.function.stripe).list_intents

    def refund_after_listing(*args: Any, **kwargs: Any) -> Any:
        page = list_intents(*args, **kwargs)
        external_stripe(shop).v1.refunds.create({"payment_intent": intent})
        return page

    monkeypatch.setattr(type(auditor.function.stripe), "list_intents", refund_after_listing)

    assert auditor.kinds() == []


def test_refund_made_at_stripe_and_not_recorded_is_reported(shop: FunctionShop, auditor: Auditor) -> None:
    for extra in ({"amount": 100}, {}):
        order = shop.order((shop.add_product(), 1))
        shop.pay(order)
        refund: Any = {"payment_intent": shop.status(order)["paymentIntentId"], **extra}
        external_stripe(shop).v1.refunds.create(refund)

    assert auditor.kinds() == ["refunds_differ"] * 2


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_pendingRefund", "pm_card_createDispute"])
def test_staff_refund_is_not_a_mismatch(shop: FunctionShop, auditor: Auditor, card: str) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, card)

    shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken.", "amount": 100})

    assert auditor.kinds() == []


def test_partial_refund_of_a_cancelled_order_is_reported(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    shop.override(order, "cancelled")
    external_stripe(shop).v1.refunds.create({"payment_intent": intent, "amount": 1})

    (finding,) = auditor.run()["findings"]

    assert finding["kind"] == "charged_without_order"
    assert "of which 1 was refunded" in finding["found"]


def test_free_line_is_not_a_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1), (shop.add_product(unit_price=450), 1))
    write_order(shop, order, "SET #lines[0].unitPrice = :nothing, totalAmount = :rest", nothing=0, rest=450)
    shop.pay(order)

    assert auditor.kinds() == []


def test_product_bought_during_the_first_read_is_not_a_suspect(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_report, "MAXIMUM_SUSPECTS", 0)
    product = shop.add_product()
    tables = type(auditor.function.tables)
    read_held = tables.count_listed_holds

    def buy_after_reading(*args: Any) -> Any:
        held = read_held(*args)
        if not held:
            shop.pay(shop.order((product, 1)), "pm_dummy_timeout_after_charge")
        return held

    monkeypatch.setattr(tables, "count_listed_holds", buy_after_reading)

    report = auditor.run()
    assert (report["findings"], report["unjudged"]) == ([], 0)


def test_failed_audit_still_emits_its_mismatches(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_product(shop, shop.add_product(stock=5), "SET available = :more", more=6)
    time_out(monkeypatch, "list")

    with pytest.raises(PaymentProviderError):
        auditor.run()
    assert metrics_in(capsys.readouterr().out)["Mismatch"] == [1.0]


def test_intent_of_another_system_is_not_the_charge_of_an_order(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    params: Any = {"amount": 4599, "currency": "usd", "payment_method_types": ["card"]}
    params |= {"payment_method": "pm_card_visa", "confirm": True}
    elsewhere = external_stripe(shop).v1.payment_intents.create(params)
    write_order(shop, order, "SET #payment.paymentIntentId = :intent", intent=elsewhere.id)

    assert "confirmed_without_charge" in auditor.kinds()


def test_invalid_since_is_refused(auditor: Auditor) -> None:
    with pytest.raises(ValidationError, match="since"):
        auditor.run(since="yesterday")


def test_long_id_is_truncated_in_the_report(shop: FunctionShop, auditor: Auditor) -> None:
    write_order(shop, "ord_" + "x" * 2000, "SET note = :note", note="x")

    (finding,) = auditor.run()["findings"]

    assert len(finding["orderId"]) == audit_report.MAXIMUM_FINDING_TEXT_LENGTH


def limit_the_rate(monkeypatch: pytest.MonkeyPatch, *, first: float) -> None:
    """Make Stripe respond 429 to the `first` reads of an intent."""
    retrieve, reads = stripe.PaymentIntentService.retrieve, itertools.count()

    def respond_429(*args: Any, **kwargs: Any) -> Any:
        if next(reads) < first:
            raise stripe.RateLimitError("Too many requests", http_status=429)  # type: ignore[no-untyped-call]
        return retrieve(*args, **kwargs)

    monkeypatch.setattr(stripe.PaymentIntentService, "retrieve", respond_429)


@pytest.mark.parametrize("after", [None, "waited"])
def test_audit_started_by_the_previous_release_continues(
    shop: FunctionShop, auditor: Auditor, after: str | None
) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)
    suspect = {"productId": product, "stock": 10, "available": 8, "held": 0, "digest": "", "stands": 1}

    report = auditor.run(phase="suspects", after=after, looks=1, suspects=[suspect])

    assert [finding["kind"] for finding in report["findings"]] == ["holds_differ"]


def test_rate_limited_audit_waits_and_retries(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = shop.add_product()
    for _ in range(2):
        shop.pay(shop.order((product, 1)))
    without_charge = shop.order((product, 1))
    shop.pay(without_charge, "pm_card_chargeDeclined")
    write_order(shop, without_charge, "SET #status = :confirmed REMOVE reason", confirmed="confirmed")
    limit_the_rate(monkeypatch, first=3)
    waits: list[int] = []

    state: dict[str, Any] = {}
    while not state.get("done"):
        state = auditor.function.handler(state, Context(600))
        waits.append(state["waitSeconds"])

    assert [finding["orderId"] for finding in state["findings"]] == [without_charge]
    assert (state["orders"], state["mismatches"], state["unjudged"]) == (3, 1, 0)
    assert [wait for wait in waits if wait] == [60]


def test_charge_is_judged_once_stripe_responds_again(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = record_unsent_refund(shop)
    limit_the_rate(monkeypatch, first=1)

    report = auditor.run()

    assert [finding["orderId"] for finding in report["findings"]] == [order]
    assert (report["charges"], report["unjudged"]) == (1, 0)


def test_charge_with_a_refund_owed_since_is_not_reported(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    limit_the_rate(monkeypatch, first=1)

    def follow() -> None:
        refund = {"paymentIntentId": intent, "owedSince": rfc3339(utc_now())}
        write_order(shop, order, "SET refund = :refund", refund=refund)

    report = auditor.run(between=follow, lookAgainAfterSeconds=60)

    assert "charged_without_order" not in {finding["kind"] for finding in report["findings"]}
    assert report["unjudged"] == 0


def test_orders_that_stay_rate_limited_are_counted_as_unjudged(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    product = shop.add_product()
    for _ in range(4):
        shop.pay(shop.order((product, 1)))
    limit_the_rate(monkeypatch, first=math.inf)
    capsys.readouterr()
    waited: list[None] = []

    report = auditor.run(between=lambda: waited.append(None), lookAgainAfterSeconds=60)

    assert (report["findings"], report["unjudged"]) == ([], 4)
    assert sum(metrics_in(capsys.readouterr().out)[Count.AUDIT_UNJUDGED]) == 4
    assert len(waited) < 10
