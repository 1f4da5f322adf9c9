"""The repair mends what an audit found, says first how, and never gives back what a payment in flight holds."""

from typing import Any

import pytest

from harness.functions import Context
from order_payments.domain.errors import PaymentProviderError
from order_payments.runtime.clock import rfc3339, utc_now
from order_payments.storage.dynamodb import TransactionConflict
from tests.support.auditor import Auditor, charge_late, past_us, refunded_only_on_paper, write_order, write_product
from tests.support.function_shop import FunctionShop
from tests.support.shop import Stock


@pytest.mark.parametrize(("available", "stock"), [(11, 10), (-1, 10), (0, -1)])
def test_stock_out_of_range_is_found_and_mended_where_it_can_be(
    shop: FunctionShop, auditor: Auditor, available: int, stock: int
) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available, stock = :stock", available=available, stock=stock)

    assert auditor.kinds() == ["stock_out_of_range"]
    outcomes = auditor.apply(auditor.plan())
    assert outcomes == (["done"] if stock == 10 else ["nothing was done"])
    assert auditor.kinds() == ([] if stock == 10 else ["stock_out_of_range"])


def test_a_hold_that_nobody_has_is_found_told_and_given_back(shop: FunctionShop, auditor: Auditor) -> None:
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
    assert auditor.apply([step]) == ["left alone: it has changed since it was planned"]
    assert auditor.kinds() == []


def test_a_plan_is_not_done_when_other_payments_are_in_flight(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET available = :available", available=5)
    steps = auditor.plan()

    shop.pay(shop.order((product, 1)), "pm_dummy_timeout_after_charge")

    assert auditor.apply(steps) == ["left alone: other payments are in flight than when it was planned"]
    assert shop.stock(product).available == 4


@pytest.mark.parametrize("to", [1_000_000, 10, 7, -1])
def test_a_step_with_another_number_than_was_planned_is_not_done(shop: FunctionShop, auditor: Auditor, to: int) -> None:
    product = shop.add_product(stock=10)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_after_charge")
    write_product(shop, product, "SET available = :available", available=5)
    (step,) = auditor.plan()

    (outcome,) = auditor.apply([step | {"to": to}])

    assert outcome.startswith("not done")
    assert shop.stock(product) == Stock(10, 5, 5)
    assert auditor.apply([step]) == ["done"]


def test_a_negative_stock_is_never_repaired_to_a_negative_number(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    write_product(shop, product, "SET stock = :stock", stock=-5)
    step = {"action": "set_available", "tells": "", "productId": product, "stock": -5, "available": 10, "to": -5}

    (outcome,) = auditor.apply([step])

    assert outcome.startswith("not done")


def test_an_attempt_that_the_reconciler_cannot_find_is_found_and_listed(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(stock=5), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    write_order(shop, order, "REMOVE unsettledShard, unsettledSince")

    # What it holds is nobody's, as far as the index tells.
    assert auditor.kinds() == ["holds_differ", "not_listed"]
    steps = [step for step in auditor.plan() if step["action"] == "list_as_unsettled"]
    assert auditor.apply(steps) == ["done"]

    assert auditor.kinds() == []


LOST_TO_THE_INDEX = {
    "not listed": "REMOVE unsettledShard, unsettledSince",
    "half listed": "REMOVE unsettledSince",
    "in a shard that is no more": "SET unsettledShard = :elsewhere",
    "under a time that never comes": "SET unsettledSince = :never",
}


@pytest.mark.parametrize("how", LOST_TO_THE_INDEX)
def test_what_a_payment_in_flight_holds_is_not_given_back_wherever_it_is_listed(
    shop: FunctionShop, auditor: Auditor, how: str
) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    update = LOST_TO_THE_INDEX[how]
    values = {":elsewhere": "unsettled-99", ":never": "2999-01-01T00:00:00.000Z"}
    write_order(shop, order, update, **{name[1:]: value for name, value in values.items() if name in update})

    assert "not_listed" in auditor.kinds()
    steps = auditor.plan()
    auditor.apply([step for step in steps if step["action"] != "look"])

    assert shop.stock(product) == Stock(10, 2, 8)
    assert auditor.kinds() == []


def test_what_an_order_holds_that_cannot_be_read_is_not_given_back(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    write_order(shop, order, "REMOVE createdAt")

    steps = auditor.plan()

    assert {step["action"] for step in steps} == {"look"}
    assert any(f"{order} cannot be read" in step["tells"] for step in steps)
    assert shop.stock(product) == Stock(10, 2, 8)


def test_a_step_that_others_are_in_the_way_of_keeps_none_from_being_done(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [shop.add_product(stock=10) for _ in range(2)]
    for product in products:
        write_product(shop, product, "SET available = :available", available=5)
    steps = sorted(auditor.plan(), key=lambda step: products.index(step["productId"]))
    tables = auditor.repairer.tables
    set_available = tables.set_available

    def contended(product_id: str, **seen: Any) -> bool:
        if product_id == products[0]:
            raise TransactionConflict
        return bool(set_available(product_id, **seen))

    monkeypatch.setattr(tables, "set_available", contended)

    assert auditor.apply(steps) == ["not done: others write the same", "done"]
    assert [shop.stock(product).available for product in products] == [5, 10]


def test_a_settled_order_that_is_still_listed_is_found_and_taken_off(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    now = rfc3339(utc_now())
    write_order(shop, order, "SET unsettledShard = :shard, unsettledSince = :now", shard="unsettled-0", now=now)

    assert auditor.kinds() == ["listed"]
    assert auditor.apply(auditor.plan()) == ["done"]
    assert auditor.kinds() == []


def test_a_repair_does_not_hide_a_payment_in_flight(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge")

    outcomes = auditor.apply([{"action": "take_off_unsettled", "tells": "", "orderId": order}])

    assert outcomes == ["left alone: it has changed since it was planned"]


def test_a_charge_whose_news_was_lost_is_found_and_confirms_its_order(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = charge_late(shop, order)

    (finding,) = auditor.run()["findings"]
    assert (finding["kind"], finding["paymentIntentId"]) == ("charged_without_order", intent)
    assert auditor.apply(auditor.plan()) == ["done: the order is confirmed"]

    assert shop.stock(product) == Stock(3, 0, 3)
    assert auditor.kinds() == []


def test_money_for_a_cancelled_order_is_found_and_sent_back(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")

    assert auditor.kinds() == ["charged_without_order"]
    assert auditor.apply(auditor.plan()) == ["done: the order is cancelled, and the money was sent back"]
    assert auditor.kinds() == []


def test_a_plan_that_was_made_up_is_not_understood(auditor: Auditor) -> None:
    steps = [
        {"action": "set_available", "tells": "", "productId": "p"},
        {"action": "list_as_unsettled", "tells": ""},
        {"action": "unheard_of", "tells": ""},
        {"action": "look", "tells": "", "unheardOf": 1},
    ]

    assert auditor.apply([*steps, {"action": "look", "tells": ""}]) == [*4 * ["not understood"], "nothing was done"]


def test_a_charge_of_another_amount_is_left_to_people(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    write_order(shop, order, "SET totalAmount = :total", total=1)

    assert "charged_other_amount" in auditor.kinds()
    assert {step["action"] for step in auditor.plan()} == {"look"}


def test_all_orders_are_read_once_for_all_that_is_planned(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        write_product(shop, shop.add_product(stock=10), "SET available = :available", available=5)
    write_order(shop, "ord_foreign", "SET note = :note", note="x")
    findings = auditor.run()["findings"]
    looks = 0
    look_up = type(auditor.repairer.tables).held_by_any_order

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        return look_up(*given, **named)

    monkeypatch.setattr(type(auditor.repairer.tables), "held_by_any_order", counted)

    steps = auditor.repairer.handler({"findings": findings}, Context(600))["steps"]

    assert [step["action"] for step in steps] == ["look"] * 4
    assert looks == 1


def test_nothing_is_written_of_an_order_that_is_not_there(shop: FunctionShop, auditor: Auditor) -> None:
    steps = [
        {"action": action, "tells": "", "orderId": "ord_gone"} for action in ("take_off_unsettled", "list_as_unsettled")
    ]

    assert auditor.apply(steps) == ["left alone: it has changed since it was planned"] * 2
    assert shop.dynamodb.scan(TableName="OrdersTable")["Items"] == []


def test_an_intent_that_comes_to_nothing_is_not_called_done(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_chargeDeclined")
    step = {
        "action": "follow_intent",
        "tells": "",
        "orderId": order,
        "paymentIntentId": shop.status(order)["paymentIntentId"],
    }

    assert auditor.apply([step]) == ["not done: the order is cancelled"]


def test_a_refund_that_came_to_nothing_is_left_to_people(shop: FunctionShop, auditor: Auditor) -> None:
    order, intent = refunded_only_on_paper(shop)

    (step,) = auditor.plan()

    assert step["action"] == "look"
    assert "re_1" in step["tells"]
    follow = {"action": "follow_intent", "tells": "", "orderId": order, "paymentIntentId": intent}
    assert auditor.apply([follow]) == ["not done: the order is cancelled"]


def test_of_two_late_charges_of_an_order_both_are_sent_back(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    auditor.apply(auditor.plan())
    status = shop.status(order)
    past_us(shop).v1.payment_intents.create(
        {
            "amount": status["totalAmount"],
            "currency": status["currency"],
            "metadata": {"orderId": order},
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            "confirm": True,
        }
    )

    assert auditor.apply(auditor.plan()) == ["done: the order is cancelled, and the money was sent back"]
    assert auditor.kinds() == []


def test_a_refund_of_which_stripe_does_not_tell_is_not_called_undone(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")
    steps = auditor.plan()

    def silent(*_: object, **__: object) -> None:
        raise PaymentProviderError("The payment provider does not tell of the payment.")

    with monkeypatch.context() as patched:
        patched.setattr(type(auditor.repairer.stripe), "summary_of", silent)
        outcomes = auditor.apply(steps)

    assert outcomes == ["perhaps done: the order is cancelled, and Stripe does not tell. An audit does"]
    assert auditor.kinds() == []
