"""`/admin/orders/{orderId}/refunds`: an admin returns the charge of an order."""

from typing import Any

import pytest

from tests.support.shop import ADMIN, ALICE, Reply, Shop, Stock

UNIT_PRICE = 4599


def paid_order(shop: Shop, *, quantity: int = 2, card: str = "pm_card_visa") -> tuple[str, str]:
    """Return a confirmed order and its product, of which 10 units were in stock."""
    product = shop.add_product(stock=10, unit_price=UNIT_PRICE)
    order = shop.order((product, quantity))
    assert shop.pay(order, card).status == 200
    return order, product


def refund(shop: Shop, order: str, *, key: str | None = None, **body: Any) -> Reply:
    headers = {"Idempotency-Key": key} if key else None
    path = f"/admin/orders/{order}/refunds"
    return shop.call("POST", path, ADMIN, {"reason": "Broken cup.", **body}, headers=headers)


def refunds(shop: Shop, order: str) -> list[dict[str, Any]]:
    reply = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN)
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.body["refunds"]
    return found


def test_partial_refund_succeeds_and_is_listed(shop: Shop) -> None:
    order, product = paid_order(shop)
    before = shop.status(order)
    assert "refundedAmount" not in before

    reply = refund(shop, order, amount=1000)

    assert reply.status == 201
    assert reply.body["refundId"].startswith("ref_")
    assert reply.body["stripeRefundId"].startswith("re_")
    assert {name: reply.body[name] for name in ("orderId", "kind", "status", "amount", "currency", "requestedBy")} == {
        "orderId": order,
        "kind": "staff",
        "status": "succeeded",
        "amount": 1000,
        "currency": "usd",
        "requestedBy": ADMIN.sub,
    }
    assert refunds(shop, order) == [reply.body]
    assert shop.status(order) == {**before, "refundedAmount": 1000}
    assert shop.stock(product) == Stock(stock=8, reserved=0, available=8)


def test_refund_without_an_amount_returns_the_rest_of_the_charge(shop: Shop) -> None:
    order, _ = paid_order(shop)
    refund(shop, order, amount=1000)

    reply = refund(shop, order)

    assert (reply.status, reply.body["amount"]) == (201, 2 * UNIT_PRICE - 1000)
    assert shop.status(order)["refundedAmount"] == 2 * UNIT_PRICE
    assert shop.status(order)["status"] == "confirmed"


def test_many_partial_refunds_add_up_to_the_charge(shop: Shop) -> None:
    order, _ = paid_order(shop)

    statuses = [refund(shop, order, amount=1000).status for _ in range(10)]

    assert statuses == [201] * 9 + [409]
    assert shop.status(order)["refundedAmount"] == 9000


def test_refund_above_the_rest_of_the_charge_is_refused(shop: Shop) -> None:
    order, _ = paid_order(shop)
    refund(shop, order, amount=9000)
    before = shop.status(order)

    reply = refund(shop, order, amount=199)

    assert (reply.status, reply.code) == (409, "refund_too_large")
    assert reply.body["order"] == shop.status(order) == before
    assert len(refunds(shop, order)) == 1


def test_nothing_is_left_of_a_refunded_charge(shop: Shop) -> None:
    order, _ = paid_order(shop)
    refund(shop, order)

    assert refund(shop, order).code == "not_refundable"


@pytest.mark.parametrize("end", ["pending", "declined", "confirmed by hand", "cancelled by hand"])
def test_order_without_a_charge_is_not_refundable(shop: Shop, end: str) -> None:
    order = shop.order((shop.add_product(), 1))
    match end:
        case "declined":
            shop.pay(order, "pm_card_chargeDeclined")
        case "confirmed by hand" | "cancelled by hand":
            shop.override(order, end.partition(" ")[0])
    before = shop.status(order)

    reply = refund(shop, order)

    assert (reply.status, reply.code) == (409, "not_refundable")
    assert reply.body["order"] == shop.status(order) == before


def test_restocked_units_go_back_on_the_shelf(shop: Shop) -> None:
    order, product = paid_order(shop, quantity=3)

    reply = refund(shop, order, amount=UNIT_PRICE, restock=[{"productId": product, "quantity": 2}])

    assert reply.body["restock"] == [{"productId": product, "quantity": 2}]
    assert shop.stock(product) == Stock(stock=9, reserved=0, available=9)


def test_no_more_units_are_restocked_than_were_sold(shop: Shop) -> None:
    order, product = paid_order(shop, quantity=3)
    refund(shop, order, amount=1, restock=[{"productId": product, "quantity": 2}])

    reply = refund(shop, order, amount=1, restock=[{"productId": product, "quantity": 2}])

    assert (reply.status, reply.code) == (409, "refund_too_large")
    assert shop.stock(product) == Stock(stock=9, reserved=0, available=9)
    assert refund(shop, order, amount=1, restock=[{"productId": product, "quantity": 1}]).status == 201


def test_deleted_product_is_not_restocked_and_the_refund_succeeds(shop: Shop) -> None:
    order, product = paid_order(shop)
    shop.remove_product(product)

    reply = refund(shop, order, amount=100, restock=[{"productId": product, "quantity": 1}])

    assert (reply.status, reply.body["restock"]) == (201, [])


def test_repeated_key_returns_the_same_refund(shop: Shop) -> None:
    order, product = paid_order(shop)
    body: dict[str, Any] = {"amount": 500, "restock": [{"productId": product, "quantity": 1}]}

    first, again = (refund(shop, order, key="return-1", **body) for _ in range(2))

    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert shop.status(order)["refundedAmount"] == 500
    assert shop.stock(product) == Stock(stock=9, reserved=0, available=9)


def test_full_refund_is_replayed_though_nothing_is_left(shop: Shop) -> None:
    order, _ = paid_order(shop)

    first, again = (refund(shop, order, key="return-2") for _ in range(2))

    assert again.body == first.body


@pytest.mark.parametrize("change", [{"amount": 501}, {"reason": "Another."}, {"restock": []}])
def test_key_of_another_refund_is_refused(shop: Shop, change: dict[str, Any]) -> None:
    order, product = paid_order(shop)
    body = {"amount": 500, "restock": [{"productId": product, "quantity": 1}]}
    refund(shop, order, key="return-3", **body)

    reply = refund(shop, order, key="return-3", **{**body, **change})

    assert (reply.status, reply.code) == (409, "idempotency_key_reused")
    assert len(refunds(shop, order)) == 1


def test_pending_refund_responds_202_and_counts_as_refunded(shop: Shop) -> None:
    order, _ = paid_order(shop, card="pm_card_pendingRefund")

    reply = refund(shop, order, amount=300)

    assert (reply.status, reply.body["status"]) == (202, "pending")
    assert int(reply.headers["retry-after"]) > 0
    assert shop.status(order)["refundedAmount"] == 300
    assert refund(shop, order, amount=2 * UNIT_PRICE - 299).code == "refund_too_large"


def test_refund_of_a_disputed_charge_is_refused_and_listed(shop: Shop) -> None:
    order, product = paid_order(shop, card="pm_card_createDispute")

    first, again = (
        refund(shop, order, key="return-4", restock=[{"productId": product, "quantity": 1}]) for _ in range(2)
    )

    assert (first.status, first.code) == (409, "not_refundable")
    assert (again.status, again.body["detail"]) == (409, first.body["detail"])
    assert again.headers["idempotent-replayed"] == "true"
    (listed,) = refunds(shop, order)
    assert (listed["status"], listed["failure"]["code"], listed["restock"]) == ("refused", "charge_disputed", [])
    assert "refundedAmount" not in shop.status(order)
    assert shop.stock(product) == Stock(stock=8, reserved=0, available=8)


INVALID = {
    "no reason": {"reason": None},
    "blank reason": {"reason": " "},
    "amount zero": {"amount": 0},
    "negative amount": {"amount": -1},
    "amount as text": {"amount": "100"},
    "fraction": {"amount": 1.5},
    "null amount": {"amount": None},
    "amount of true": {"amount": True},
    "unknown field": {"colour": "green"},
    "product of no line": {"restock": [{"productId": "other", "quantity": 1}]},
    "zero units": {"restock": [{"productId": "tea", "quantity": 0}]},
    "product twice": {"restock": [{"productId": "tea", "quantity": 1}] * 2},
    "restock of null": {"restock": None},
}


@pytest.mark.parametrize("change", INVALID.values(), ids=INVALID)
def test_invalid_refund_is_refused_and_changes_nothing(shop: Shop, change: dict[str, Any]) -> None:
    order, _ = paid_order(shop)

    reply = refund(shop, order, **{"amount": 100, **change})

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"]
    assert refunds(shop, order) == []


def test_amount_that_the_currency_does_not_allow_is_refused(shop: Shop) -> None:
    order = shop.order((shop.add_product(unit_price=5120, currency="kwd"), 1))
    shop.pay(order)

    reply = refund(shop, order, amount=1005)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert refund(shop, order, amount=1010).status == 201


@pytest.mark.parametrize("order", ["ord_" + 32 * "0", "nonsense"])
def test_refunds_of_an_unknown_order_are_not_found(shop: Shop, order: str) -> None:
    replies = [refund(shop, order), shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN)]

    assert [(reply.status, reply.code) for reply in replies] == [(404, "order_not_found")] * 2


@pytest.mark.every_case_over_http
def test_only_admins_refund_and_read_refunds(shop: Shop) -> None:
    order, _ = paid_order(shop)

    path = f"/admin/orders/{order}/refunds"
    replies = [shop.call("POST", path, ALICE, {"reason": "Mine."}), shop.call("GET", path, ALICE)]

    assert [(reply.status, reply.code) for reply in replies] == [(403, "forbidden")] * 2
    assert refunds(shop, order) == []
