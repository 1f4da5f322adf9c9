"""`GET /admin/orders/{orderId}`: an order with its refunds and its history."""

from typing import Any

import pytest

from tests.support.shop import ADMIN, ALICE, Shop


def details(shop: Shop, order: str) -> dict[str, Any]:
    reply = shop.call("GET", f"/admin/orders/{order}", ADMIN)
    assert reply.status == 200, reply
    body: dict[str, Any] = reply.body
    return body


def events(shop: Shop, order: str) -> list[tuple[str, str | None]]:
    """Return the events of the order's history, each with its actor."""
    return [(entry["event"], entry["actor"]) for entry in details(shop, order)["history"]]


def test_details_are_the_listed_order_and_what_can_be_refunded(shop: Shop) -> None:
    product = shop.add_product(stock=10, unit_price=1000)
    order = shop.order((product, 3))
    shop.pay(order, "pm_card_visa")
    body = {"amount": 500, "reason": "Broken cup.", "restock": [{"productId": product, "quantity": 1}]}
    refund = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, body).body

    found = details(shop, order)

    items = [{"productId": product, "name": found["items"][0]["name"], "quantity": 3, "unitPrice": 1000}]
    assert found == {
        **shop.status(order),
        "items": items,
        "refusedAttempts": 0,
        "refundableAmount": 2500,
        "restockable": [{"productId": product, "quantity": 2}],
        "refunds": [refund],
        "history": found["history"],
    }


def test_history_of_a_paid_and_refunded_order(shop: Shop) -> None:
    order = shop.order((shop.add_product(unit_price=1000), 1))
    shop.pay(order, "pm_card_visa")
    paid = shop.status(order)
    body = {"amount": 400, "reason": "Broken cup."}
    refund = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, body).body

    placed, started, confirmed, requested, succeeded = details(shop, order)["history"]

    nothing = {"reason": None, "paymentMethodId": None, "refundId": None, "amount": None}
    assert placed == {
        **nothing,
        "event": "placed",
        "at": paid["createdAt"],
        "actor": ALICE.sub,
        "requestId": placed["requestId"],
    }
    assert (started["event"], started["actor"], started["paymentMethodId"]) == (
        "payment_started",
        ALICE.sub,
        "pm_card_visa",
    )
    assert confirmed == {
        **nothing,
        "event": "confirmed",
        "at": paid["updatedAt"],
        "actor": None,
        "requestId": started["requestId"],
    }
    of_refund = {**nothing, "refundId": refund["refundId"], "amount": 400}
    assert requested == {
        **of_refund,
        "event": "refund_requested",
        "at": refund["createdAt"],
        "actor": ADMIN.sub,
        "requestId": requested["requestId"],
        "reason": {"code": "admin_refund", "declineCode": None, "message": "Broken cup."},
    }
    assert succeeded == {
        **of_refund,
        "event": "refund_succeeded",
        "at": refund["updatedAt"],
        "actor": None,
        "requestId": None,
    }
    assert all((placed["requestId"], started["requestId"], requested["requestId"]))


def test_history_says_why_a_payment_was_declined(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    declined = shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds").body["order"]

    last = details(shop, order)["history"][-1]

    assert (last["event"], last["actor"], last["reason"]) == ("cancelled", None, declined["reason"])
    assert last["reason"]["declineCode"] == "insufficient_funds"


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
def test_history_names_the_admin_of_an_override(shop: Shop, status: str) -> None:
    order = shop.order((shop.add_product(), 1))
    settled = shop.override(order, status, reason="As agreed.").body

    found = details(shop, order)

    override = found["history"][-1]
    assert (override["event"], override["at"], override["actor"]) == (status, settled["updatedAt"], ADMIN.sub)
    assert override["reason"] == {"code": "admin_override", "declineCode": None, "message": "As agreed."}
    assert override["requestId"]
    assert (found["refundableAmount"], [event for event, _ in events(shop, order)]) == (0, ["placed", status])


def test_history_says_why_a_refund_was_refused(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_createDispute")
    shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken cup."})

    found = details(shop, order)

    last = found["history"][-1]
    assert (last["event"], last["reason"]["code"]) == ("refund_refused", "charge_disputed")
    assert found["refundableAmount"] == found["totalAmount"]


def test_order_without_enough_stock_names_the_attempt_that_ended_it(shop: Shop) -> None:
    order = shop.order((shop.add_product(stock=1), 2))
    shop.pay(order)
    assert events(shop, order) == [("placed", ALICE.sub), ("payment_started", ALICE.sub), ("cancelled", None)]


def test_refused_attempts_are_counted_and_leave_no_event(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    assert shop.pay(order, "pm_card_unknown").status == 422

    assert details(shop, order)["refusedAttempts"] == 1
    assert events(shop, order) == [("placed", ALICE.sub)]


@pytest.mark.parametrize("order", ["ord_" + 32 * "f", "ord_1", "%20"])
def test_details_of_an_unknown_order_are_not_found(shop: Shop, order: str) -> None:
    reply = shop.call("GET", f"/admin/orders/{order}", ADMIN)
    assert (reply.status, reply.code) == (404, "order_not_found")


def test_only_admins_read_the_details(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    reply = shop.call("GET", f"/admin/orders/{order}", ALICE)
    assert (reply.status, reply.code) == (403, "forbidden")
