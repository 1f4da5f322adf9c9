"""The repair plans each step, applies it, and never releases units that a payment in flight holds."""

from typing import Any

import pytest

from harness.functions import Context
from order_payments.domain.errors import PaymentProviderError
from order_payments.runtime.clock import rfc3339, utc_now
from order_payments.storage.dynamodb import TransactionConflict
from tests.support.auditor import (
    Auditor,
    charge_late,
    external_stripe,
    record_unsent_refund,
    write_order,
    write_product,
)
from tests.support.function_shop import FunctionShop
from tests.support.shop import ADMIN, Stock


@pytest.mark.parametrize(("available", "stock"), [(11, 10), (-1, 10), (0, -1)])
def test_available_out_of_range_is_repaired_and_negative_stock_is_not(
    shop: FunctionShop, auditor: Auditor, available: int, stock: int
) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available, stock = :stock", available=available, stock=stock)

    assert auditor.kinds() == ["stock_out_of_range"]
    outcomes = auditor.apply(auditor.plan())
    assert outcomes == (["done"] if stock == 10 else ["not done: an operator has to decide"])
    assert auditor.kinds() == ([] if stock == 10 else ["stock_out_of_range"])


def test_hold_without_a_payment_is_reported_planned_and_released(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    write_product(shop, product, "SET available = :available", available=5)

    (finding,) = auditor.run()["findings"]
    assert (finding["kind"], finding["productId"]) == ("holds_differ", product)
    assert finding["found"].startswith("5 held")
    assert finding["expected"].startswith("2 held")
    (step,) = auditor.plan()
    assert "from 5 to 8" in step["tells"]
    assert shop.stock(product) == Stock(10, 5, 5)

    assert auditor.apply([step]) == ["done"]
    assert shop.stock(product) == Stock(10, 2, 8)
    assert auditor.apply([step]) == ["not done: it has changed since it was planned"]
    assert auditor.kinds() == []


def test_step_is_refused_once_other_payments_are_in_flight(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=5)
    steps = auditor.plan()

    shop.pay(shop.order((product, 1)), "pm_dummy_timeout_after_charge")

    assert auditor.apply(steps) == ["not done: its payments in flight have changed since it was planned"]
    assert shop.stock(product).available == 4


@pytest.mark.parametrize("to", [1_000_000, 10, 7, -1])
def test_step_with_another_number_than_planned_is_refused(shop: FunctionShop, auditor: Auditor, to: int) -> None:
    product = shop.add_product(stock=10)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_after_charge")
    write_product(shop, product, "SET available = :available", available=5)
    (step,) = auditor.plan()

    (outcome,) = auditor.apply([step | {"to": to}])

    assert outcome.startswith("not done")
    assert shop.stock(product) == Stock(10, 5, 5)
    assert auditor.apply([step]) == ["done"]


def test_available_is_never_repaired_to_a_negative_number(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET stock = :stock", stock=-5)
    step = {"action": "set_available", "tells": "", "productId": product, "stock": -5, "available": 10, "to": -5}

    (outcome,) = auditor.apply([step])

    assert outcome.startswith("not done")


def test_attempt_missing_from_the_unsettled_index_is_listed(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(stock=5), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    write_order(shop, order, "REMOVE unsettledShard, unsettledSince")

    # The index lists no payment that holds these units.
    assert auditor.kinds() == ["holds_differ", "not_listed"]
    steps = [step for step in auditor.plan() if step["action"] == "list_as_unsettled"]
    assert auditor.apply(steps) == ["done"]

    assert auditor.kinds() == []


def test_unfinished_refund_missing_from_the_unsettled_index_is_listed(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_pendingRefund")
    shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken."})
    write_order(shop, order, "REMOVE unsettledShard, unsettledSince")

    assert auditor.kinds() == ["not_listed"]
    assert auditor.apply(auditor.plan()) == ["done"]

    assert auditor.kinds() == []


BROKEN_INDEX_ENTRIES = {
    "not listed": "REMOVE unsettledShard, unsettledSince",
    "half listed": "REMOVE unsettledSince",
    "in a removed shard": "SET unsettledShard = :elsewhere",
    "in the far future": "SET unsettledSince = :never",
}


@pytest.mark.parametrize("case", BROKEN_INDEX_ENTRIES)
def test_units_of_a_payment_with_a_broken_index_entry_stay_held(
    shop: FunctionShop, auditor: Auditor, case: str
) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    update = BROKEN_INDEX_ENTRIES[case]
    values = {":elsewhere": "unsettled-99", ":never": "2999-01-01T00:00:00.000Z"}
    write_order(shop, order, update, **{name[1:]: value for name, value in values.items() if name in update})

    assert "not_listed" in auditor.kinds()
    steps = auditor.plan()
    auditor.apply([step for step in steps if step["action"] != "look"])

    assert shop.stock(product) == Stock(10, 2, 8)
    assert auditor.kinds() == []


def test_units_of_an_unreadable_order_stay_held(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    write_order(shop, order, "REMOVE createdAt")

    steps = auditor.plan()

    assert {step["action"] for step in steps} == {"look"}
    assert any(f"{order} is not a valid order" in step["tells"] for step in steps)
    assert shop.stock(product) == Stock(10, 2, 8)


def test_step_that_fails_on_contention_does_not_stop_the_others(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [shop.add_product(stock=10) for _ in range(2)]
    for product in products:
        write_product(shop, product, "SET available = :available", available=5)
    steps = sorted(auditor.plan(), key=lambda step: products.index(step["productId"]))
    tables = auditor.repairer.tables
    set_available = tables.set_available

    def fail_on_contention(product_id: str, **kwargs: Any) -> bool:
        if product_id == products[0]:
            raise TransactionConflict
        return bool(set_available(product_id, **kwargs))

    monkeypatch.setattr(tables, "set_available", fail_on_contention)

    assert auditor.apply(steps) == ["not done: concurrent writes, try again", "done"]
    assert [shop.stock(product).available for product in products] == [5, 10]


def test_settled_order_in_the_unsettled_index_is_removed_from_it(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    now = rfc3339(utc_now())
    write_order(shop, order, "SET unsettledShard = :shard, unsettledSince = :now", shard="unsettled-0", now=now)

    assert auditor.kinds() == ["listed"]
    assert auditor.apply(auditor.plan()) == ["done"]
    assert auditor.kinds() == []


def test_payment_in_flight_is_not_removed_from_the_unsettled_index(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge")

    outcomes = auditor.apply([{"action": "take_off_unsettled", "tells": "", "orderId": order}])

    assert outcomes == ["not done: it has changed since it was planned"]


def test_charge_whose_webhook_was_lost_confirms_its_order(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = charge_late(shop, order)

    (finding,) = auditor.run()["findings"]
    assert (finding["kind"], finding["paymentIntentId"]) == ("charged_without_order", intent)
    assert auditor.apply(auditor.plan()) == ["done: the order is confirmed"]

    assert shop.stock(product) == Stock(3, 0, 3)
    assert auditor.kinds() == []


def test_charge_of_a_cancelled_order_is_refunded(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")

    assert auditor.kinds() == ["charged_without_order"]
    assert auditor.apply(auditor.plan()) == ["done: the order is cancelled, and the charge was refunded"]
    assert auditor.kinds() == []


def test_invalid_step_is_refused(auditor: Auditor) -> None:
    steps = [
        {"action": "set_available", "tells": "", "productId": "p"},
        {"action": "list_as_unsettled", "tells": ""},
        {"action": "unheard_of", "tells": ""},
        {"action": "look", "tells": "", "unheardOf": 1},
    ]

    assert auditor.apply([*steps, {"action": "look", "tells": ""}]) == [
        *4 * ["not done: unknown action"],
        "not done: an operator has to decide",
    ]


def test_charge_of_another_amount_is_left_for_manual_review(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    write_order(shop, order, "SET totalAmount = :total", total=1)

    assert "charged_other_amount" in auditor.kinds()
    assert {step["action"] for step in auditor.plan()} == {"look"}


def test_plan_reads_all_orders_only_once(shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        write_product(shop, shop.add_product(stock=10), "SET available = :available", available=5)
    write_order(shop, "ord_foreign", "SET note = :note", note="x")
    findings = auditor.run()["findings"]
    reads = 0
    count_all_holds = type(auditor.repairer.tables).count_all_holds

    def count_reads(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return count_all_holds(*args, **kwargs)

    monkeypatch.setattr(type(auditor.repairer.tables), "count_all_holds", count_reads)

    steps = auditor.repairer.handler({"findings": findings}, Context(600))["steps"]

    assert [step["action"] for step in steps] == ["look"] * 4
    assert reads == 1


def test_repair_does_not_create_a_missing_order(shop: FunctionShop, auditor: Auditor) -> None:
    steps = [
        {"action": action, "tells": "", "orderId": "ord_gone"} for action in ("take_off_unsettled", "list_as_unsettled")
    ]

    assert auditor.apply(steps) == ["not done: it has changed since it was planned"] * 2
    assert shop.dynamodb.scan(TableName="OrdersTable")["Items"] == []


def test_step_for_a_declined_intent_is_reported_as_not_done(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_chargeDeclined")
    step = {
        "action": "follow_intent",
        "tells": "",
        "orderId": order,
        "paymentIntentId": shop.status(order)["paymentIntentId"],
    }

    assert auditor.apply([step]) == ["not done: the order is cancelled"]


def test_refund_that_failed_is_left_for_manual_review(shop: FunctionShop, auditor: Auditor) -> None:
    order, intent = record_unsent_refund(shop)

    (step,) = auditor.plan()

    assert step["action"] == "look"
    assert "re_1" in step["tells"]
    follow = {"action": "follow_intent", "tells": "", "orderId": order, "paymentIntentId": intent}
    assert auditor.apply([follow]) == ["not done: the order is cancelled"]


def test_second_late_charge_of_an_order_is_refunded_too(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    auditor.apply(auditor.plan())
    status = shop.status(order)
    external_stripe(shop).v1.payment_intents.create(
        {
            "amount": status["totalAmount"],
            "currency": status["currency"],
            "metadata": {"orderId": order},
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            "confirm": True,
        }
    )

    assert auditor.apply(auditor.plan()) == ["done: the order is cancelled, and the charge was refunded"]
    assert auditor.kinds() == []


def test_refund_of_unknown_outcome_is_reported_as_perhaps_done(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    steps = auditor.plan()

    def fail(*_: object, **__: object) -> None:
        raise PaymentProviderError("The payment provider did not respond.")

    with monkeypatch.context() as patched:
        patched.setattr(type(auditor.repairer.stripe), "retrieve_summary", fail)
        outcomes = auditor.apply(steps)

    assert outcomes == ["unknown: the order is cancelled, and Stripe does not respond. Run an audit"]
    assert auditor.kinds() == []


def test_refund_made_at_stripe_is_recorded_with_its_order(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    intent = shop.status(order)["paymentIntentId"]
    external_stripe(shop).v1.refunds.create({"payment_intent": intent, "amount": 100})

    assert auditor.apply(auditor.plan()) == ["done"]

    (refund,) = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN).body["refunds"]
    assert (refund["kind"], refund["status"], refund["amount"]) == ("external", "succeeded", 100)
    assert shop.status(order)["refundedAmount"] == 100
    assert auditor.kinds() == []
