"""The audit finds what does not fit together, and nothing that does; the repair mends it, and says first how."""

from datetime import timedelta
from typing import Any

import pytest
import stripe

from order_payments import audit
from order_payments.clock import rfc3339, utc_now
from order_payments.dummy_stripe import DummyStripeHTTPClient, DynamoDBStore
from order_payments.dynamodb import Contended, to_wire
from tests.support.function_shop import FunctionShop
from tests.support.lambda_functions import Context, load_function
from tests.support.metrics import metrics_in
from tests.support.shop import Stock

AT_ONCE = {"lookAgainAfterSeconds": 0}


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A charge is ripe as soon as it is there."""
    monkeypatch.setattr(audit, "GRACE", timedelta(seconds=-5))


class Auditor:
    """Does what the state machine does."""

    def __init__(self) -> None:
        self.function = load_function("audit_payments")
        self.repairer = load_function("repair_payments")

    def run(self, between: Any = lambda: None, **given: Any) -> dict[str, Any]:
        state: dict[str, Any] = AT_ONCE | given
        while not state.get("done"):
            state = self.function.handler(state, Context(600))
            between()
        return state

    def kinds(self) -> list[str]:
        return sorted(finding["kind"] for finding in self.run()["findings"])

    def plan(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.repairer.handler({"findings": self.run()["findings"]}, Context(600))["steps"]
        return steps

    def apply(self, steps: list[dict[str, Any]]) -> list[str]:
        answer = self.repairer.handler({"steps": steps, "apply": True}, Context(600))
        return [step["outcome"] for step in answer["steps"]]


@pytest.fixture
def auditor(shop: FunctionShop) -> Auditor:
    assert shop is not None
    return Auditor()


def write(shop: FunctionShop, table: str, key: dict[str, str], update: str, **values: Any) -> None:
    names = {"#payment": "payment", "#status": "status"}
    shop.dynamodb.update_item(
        TableName=table,
        Key=to_wire(key),
        UpdateExpression=update,
        **({"ExpressionAttributeNames": used} if (used := {n: a for n, a in names.items() if n in update}) else {}),
        **({"ExpressionAttributeValues": to_wire({f":{n}": v for n, v in values.items()})} if values else {}),
    )


def write_order(shop: FunctionShop, order: str, update: str, **values: Any) -> None:
    write(shop, "OrdersTable", {"orderId": order}, update, **values)


def write_product(shop: FunctionShop, product: str, update: str, **values: Any) -> None:
    write(shop, "ProductsTable", {"productId": product}, update, **values)


def past_us(shop: FunctionShop) -> stripe.StripeClient:
    """Stripe as somebody else uses it."""
    wire = DummyStripeHTTPClient(DynamoDBStore(shop.dynamodb, "DummyStripeTable"))
    return stripe.StripeClient("sk_test_unit", http_client=wire)


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
    write_product(shop, "of-another-service", "SET stock = :stock", stock=3)
    past_us(shop).v1.payment_intents.create({"amount": 500, "currency": "usd", "metadata": {"orderId": "theirs"}})

    report = auditor.run()

    assert report["findings"] == []
    assert (report["mismatches"], report["unjudged"]) == (0, 0)
    assert (report["products"], report["orders"]) == (2, 10)
    assert report["charges"] == 2
    assert metrics_in(capsys.readouterr().out)["Mismatch"] == [0.0]


def test_nothing_is_changed_by_looking(shop: FunctionShop, auditor: Auditor) -> None:
    product = live(shop)
    write_product(shop, product, "SET available = :none", none=0)
    before = [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")]

    assert auditor.kinds() == ["holds_differ"]

    assert [shop.dynamodb.scan(TableName=table)["Items"] for table in ("OrdersTable", "ProductsTable")] == before


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


def test_a_charge_of_an_order_that_cannot_be_read_is_not_called_nobodys(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    write_order(shop, order, "REMOVE createdAt")

    assert auditor.kinds() == ["order_unreadable"]


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
            raise Contended
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


def charge_late(shop: FunctionShop, order: str) -> str:
    """Charge the intent of an order that was voided, past us."""
    shop.pay(order, "pm_nobody_has")
    intents = DynamoDBStore(shop.dynamodb, "DummyStripeTable").intents()
    intent = next(each.id for each in intents if each.metadata["orderId"] == order)
    past_us(shop).v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    return intent


def test_a_charge_whose_news_was_lost_is_found_and_confirms_its_order(shop: FunctionShop, auditor: Auditor) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = charge_late(shop, order)

    (finding,) = auditor.run()["findings"]
    assert (finding["kind"], finding["paymentIntentId"]) == ("charged_without_order", intent)
    assert auditor.apply(auditor.plan()) == ["the order is confirmed"]

    assert shop.stock(product) == Stock(3, 0, 3)
    assert auditor.kinds() == []


def test_money_for_a_cancelled_order_is_found_and_sent_back(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    charge_late(shop, order)
    shop.override(order, "cancelled")

    assert auditor.kinds() == ["charged_without_order"]
    assert auditor.apply(auditor.plan()) == ["the order is cancelled, and the money was sent back"]
    assert auditor.kinds() == []


def test_a_charge_that_somebody_sent_back_by_hand_is_no_mismatch(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    past_us(shop).v1.refunds.create({"payment_intent": intent})

    assert auditor.kinds() == []


def test_a_fresh_charge_is_given_time(shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "GRACE", timedelta(minutes=10))
    charge_late(shop, shop.order((shop.add_product(), 1)))

    assert auditor.kinds() == []


def test_a_charge_of_an_order_that_is_gone_is_left_to_people(shop: FunctionShop, auditor: Auditor) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    shop.dynamodb.delete_item(TableName="OrdersTable", Key={"orderId": {"S": order}})

    assert auditor.kinds() == ["charged_for_unknown_order"]
    assert [step["action"] for step in auditor.plan()] == ["look"]


def test_while_stripe_does_not_tell_nothing_is_judged(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.pay(shop.order((shop.add_product(), 1)))

    def silent(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(auditor.function.stripe._client.v1.payment_intents, "retrieve", silent)

    report = auditor.run()
    assert (report["findings"], report["unjudged"]) == ([], 1)


def test_it_goes_through_a_large_store_page_by_page_and_stops_when_its_time_is_up(
    shop: FunctionShop, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    product = shop.add_product(stock=100)
    for _ in range(5):
        shop.pay(shop.order((product, 1)))
    monkeypatch.setattr(auditor.function, "TIME_TO_REPORT_SECONDS", 600.0 - audit.TIME_FOR_A_PAGE_SECONDS - 0.01)
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
    monkeypatch.setattr(audit, "MOST_FINDINGS", 2)
    for number in range(5):
        write_order(shop, f"ord_{number}", "SET note = :note", note="x")

    report = auditor.run()

    assert (len(report["findings"]), report["mismatches"]) == (2, 5)


def test_a_plan_that_was_made_up_is_not_understood(auditor: Auditor) -> None:
    steps = [{"action": "set_available", "tells": "", "productId": "p"}, {"action": "list_as_unsettled", "tells": ""}]

    assert auditor.apply(steps) == ["not understood", "not understood"]
