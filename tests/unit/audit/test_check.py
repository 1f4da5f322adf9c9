"""The audit finds what does not fit together, and nothing that does."""

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
    AT_ONCE,
    Auditor,
    charge_late,
    past_us,
    refunded_only_on_paper,
    write_order,
    write_product,
)
from tests.support.function_shop import FunctionShop
from tests.support.metrics import metrics_in


def live(shop: FunctionShop) -> str:
    """Everything that can happen to orders; returns the product."""
    product = shop.add_product(stock=20)
    for card in (
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_nobody_has",
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


def test_a_shop_in_which_all_went_as_it_should_has_no_mismatch(
    shop: FunctionShop, auditor: Auditor, capsys: pytest.CaptureFixture[str]
) -> None:
    live(shop)
    # Another service's, and another system's.
    write_product(shop, "of-another-service", "SET note = :note", note="sold elsewhere")
    past_us(shop).v1.payment_intents.create({"amount": 500, "currency": "usd", "metadata": {"orderId": "theirs"}})

    report = auditor.run()

    assert report["findings"] == []
    assert (report["mismatches"], report["unjudged"]) == (0, 0)
    assert (report["products"], report["orders"]) == (2, 10)
    assert report["charges"] == 2
    metrics = metrics_in(capsys.readouterr().out)
    assert metrics[Count.MISMATCH] == [0.0]
    assert set(metrics[Count.AUDIT_UNJUDGED]) == {0.0}


def test_nothing_is_changed_by_looking(shop: FunctionShop, auditor: Auditor) -> None:
    product = live(shop)
    write_product(shop, product, "SET available = :none", none=0)
    before = [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")]

    assert auditor.kinds() == ["holds_differ"]

    assert [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")] == before


def test_a_product_that_changes_between_looks_is_not_judged(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)
    available = iter(range(7, -20, -1))

    def change() -> None:
        write_product(shop, product, "SET available = :available", available=max(next(available), 0))

    report = auditor.run(between=change, lookAgainAfterSeconds=60)

    assert report["findings"] == []
    assert report["unjudged"] == 1


def test_a_difference_that_goes_away_is_no_finding(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)

    def settle() -> None:
        write_product(shop, product, "SET available = :available", available=10)

    report = auditor.run(between=settle, lookAgainAfterSeconds=60)

    assert (report["findings"], report["unjudged"]) == ([], 0)


def test_before_it_looks_again_it_asks_to_wait(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)

    state = auditor.function.handler({}, Context(600))

    assert (state["done"], state["waitSeconds"], state["findings"]) == (False, 60, [])
    waits = 0
    while not state["done"]:
        waits += state["waitSeconds"] > 0
        state = auditor.function.handler(state, Context(600))
    assert (waits, len(state["findings"])) == (2, 1)


def test_a_charge_of_an_order_that_cannot_be_read_is_not_called_nobodys(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    write_order(shop, order, "REMOVE createdAt")

    assert auditor.kinds() == ["order_unreadable"]


def test_what_is_no_order_is_found_and_left_to_people(shop: FunctionShop, auditor: Auditor) -> None:
    write_order(shop, "ord_foreign", "SET note = :note", note="x")

    assert auditor.kinds() == ["order_unreadable"]
    (step,) = auditor.plan()
    assert step["action"] == "look"
    assert auditor.apply([step]) == ["nothing was done"]


@pytest.mark.parametrize("has_payment", [True, False])
def test_an_order_that_was_confirmed_without_a_charge_is_found_and_left_to_people(
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


def test_orders_of_before_are_not_held_against_stripe(shop: FunctionShop, auditor: Auditor) -> None:
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


def test_a_charge_that_somebody_sent_back_by_hand_is_no_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    past_us(shop).v1.refunds.create({"payment_intent": intent})

    assert auditor.kinds() == []


def test_a_fresh_charge_is_given_time(shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CHARGE_GRACE", timedelta(minutes=10))
    charge_late(shop, shop.order((shop.add_product(), 1)))

    assert auditor.kinds() == []


def test_a_charge_of_an_order_that_is_gone_is_left_to_people(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    shop.dynamodb.delete_item(TableName="OrdersTable", Key={"orderId": {"S": order}})

    assert auditor.kinds() == ["charged_for_unknown_order"]
    assert [step["action"] for step in auditor.plan()] == ["look"]


def silence(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Lose Stripe's answers to a method on intents."""

    def silent(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(stripe.PaymentIntentService, method, silent)


def pay(shop: FunctionShop) -> None:
    shop.pay(shop.order((shop.add_product(), 1)))


@pytest.mark.parametrize("leave", [pay, refunded_only_on_paper])
def test_while_stripe_does_not_tell_nothing_is_judged(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch, leave: Callable[[FunctionShop], object]
) -> None:
    leave(shop)
    silence(monkeypatch, "retrieve")

    report = auditor.run()
    assert (report["findings"], report["unjudged"]) == ([], 1)


def test_it_goes_through_a_large_store_page_by_page_and_stops_when_its_time_is_up(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    product = shop.add_product(stock=100)
    for _ in range(5):
        shop.pay(shop.order((product, 1)))
    monkeypatch.setattr(auditor.function, "AUDIT_REPORT_SECONDS", 600.0 - audit.TIME_FOR_A_PAGE_SECONDS - 0.01)
    states: list[dict[str, Any]] = []

    state: dict[str, Any] = AT_ONCE
    while not state.get("done"):
        state = auditor.function.handler(state, Context(600))
        states.append(state)

    assert len(states) > 3
    assert (state["orders"], state["charges"], state["findings"]) == (5, 5, [])


def test_what_is_handed_on_stays_small_whatever_is_wrong(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_report, "MOST_FINDINGS", 2)
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
def test_an_item_that_cannot_be_sold_is_found(
    shop: FunctionShop, auditor: Auditor, update: str, values: dict[str, Any], kind: str
) -> None:
    write_product(shop, shop.add_product(stock=10), update, **values)

    assert auditor.kinds() == [kind]


def test_another_services_product_without_stock_is_none_of_ours(shop: FunctionShop, auditor: Auditor) -> None:
    write_product(shop, "gift-card", "SET note = :note", note="sold elsewhere")

    assert auditor.kinds() == []


def test_a_product_that_is_gone_while_a_payment_holds_it_is_found(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=5)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_after_charge")
    shop.dynamodb.delete_item(TableName="ProductsTable", Key={"productId": {"S": product}})

    (finding,) = auditor.run()["findings"]

    assert (finding["kind"], finding["productId"]) == ("product_missing", product)


def test_a_total_that_is_not_the_sum_of_its_lines_is_found(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    write_order(shop, order, "SET totalAmount = :total", total=-1)

    (finding,) = auditor.run()["findings"]

    assert (finding["kind"], finding["orderId"]) == ("order_does_not_add_up", order)


def test_a_refund_that_is_recorded_and_was_not_made_is_found(shop: FunctionShop, auditor: Auditor) -> None:
    refunded_only_on_paper(shop)

    assert auditor.kinds() == ["charged_without_order"]


def test_money_that_goes_back_while_it_is_looked_at_is_no_mismatch(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, intent = refunded_only_on_paper(shop)
    listed = type(auditor.function.stripe).page_of_intents

    def sent_back_just_then(*given: Any, **named: Any) -> Any:
        page = listed(*given, **named)
        past_us(shop).v1.refunds.create({"payment_intent": intent})
        return page

    monkeypatch.setattr(type(auditor.function.stripe), "page_of_intents", sent_back_just_then)

    assert auditor.kinds() == []


def test_what_people_send_back_of_a_confirmed_order_is_no_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    for given_back in ({"amount": 100}, {}):
        order = shop.order((shop.add_product(), 1))
        shop.pay(order)
        refund: Any = {"payment_intent": shop.status(order)["paymentIntentId"], **given_back}
        past_us(shop).v1.refunds.create(refund)

    assert auditor.kinds() == []


def test_of_money_for_a_cancelled_order_all_has_to_go_back(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    shop.override(order, "cancelled")
    past_us(shop).v1.refunds.create({"payment_intent": intent, "amount": 1})

    (finding,) = auditor.run()["findings"]

    assert finding["kind"] == "charged_without_order"
    assert "of which 1 went back" in finding["found"]


def test_a_gift_is_no_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1), (shop.add_product(unit_price=450), 1))
    write_order(shop, order, "SET #lines[0].unitPrice = :nothing, totalAmount = :rest", nothing=0, rest=450)
    shop.pay(order)

    assert auditor.kinds() == []


def test_a_product_of_which_somebody_buys_at_the_first_look_is_no_suspect(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_report, "MOST_SUSPECTS", 0)
    product = shop.add_product()
    tables = type(auditor.function.tables)
    look_up = tables.held

    def bought_just_then(*given: Any) -> Any:
        held = look_up(*given)
        if not held:
            shop.pay(shop.order((product, 1)), "pm_dummy_timeout_after_charge")
        return held

    monkeypatch.setattr(tables, "held", bought_just_then)

    report = auditor.run()
    assert (report["findings"], report["unjudged"]) == ([], 0)


def test_what_an_audit_found_before_it_failed_is_told(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_product(shop, shop.add_product(stock=5), "SET available = :more", more=6)
    silence(monkeypatch, "list")

    with pytest.raises(PaymentProviderError):
        auditor.run()
    assert metrics_in(capsys.readouterr().out)["Mismatch"] == [1.0]


def test_a_confirmed_orders_intent_of_another_system_is_no_charge_of_its(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    params: Any = {"amount": 4599, "currency": "usd", "payment_method_types": ["card"]}
    params |= {"payment_method": "pm_card_visa", "confirm": True}
    elsewhere = past_us(shop).v1.payment_intents.create(params)
    write_order(shop, order, "SET #payment.paymentIntentId = :intent", intent=elsewhere.id)

    assert "confirmed_without_charge" in auditor.kinds()


def test_a_time_that_is_none_is_refused_at_once(auditor: Auditor) -> None:
    with pytest.raises(ValidationError, match="since"):
        auditor.run(since="yesterday")


def test_an_id_of_any_length_leaves_the_report_small(shop: FunctionShop, auditor: Auditor) -> None:
    write_order(shop, "ord_" + "x" * 2000, "SET note = :note", note="x")

    (finding,) = auditor.run()["findings"]

    assert len(finding["orderId"]) == audit_report.LONGEST_FINDING_TEXT


def limit_the_rate(monkeypatch: pytest.MonkeyPatch, *, first: float) -> None:
    """Let Stripe answer 429 to the first reads of an intent."""
    retrieve, reads = stripe.PaymentIntentService.retrieve, itertools.count()

    def limited(*given: Any, **named: Any) -> Any:
        if next(reads) < first:
            raise stripe.RateLimitError("Too many requests", http_status=429)  # type: ignore[no-untyped-call]
        return retrieve(*given, **named)

    monkeypatch.setattr(stripe.PaymentIntentService, "retrieve", limited)


@pytest.mark.parametrize("after", [None, "waited"])
def test_audit_of_the_release_before_goes_on(shop: FunctionShop, auditor: Auditor, after: str | None) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=8)
    suspect = {"productId": product, "stock": 10, "available": 8, "held": 0, "digest": "", "stands": 1}

    report = auditor.run(phase="suspects", after=after, looks=1, suspects=[suspect])

    assert [finding["kind"] for finding in report["findings"]] == ["holds_differ"]


def test_audit_waits_and_asks_again_while_stripe_limits_the_rate(
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


def test_charge_that_stripe_answers_about_later_is_judged(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = refunded_only_on_paper(shop)
    limit_the_rate(monkeypatch, first=1)

    report = auditor.run()

    assert [finding["orderId"] for finding in report["findings"]] == [order]
    assert (report["charges"], report["unjudged"]) == (1, 0)


def test_charge_that_is_explained_by_the_time_stripe_answers_is_no_finding(
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


def test_orders_that_stripe_never_answers_about_are_counted(
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
