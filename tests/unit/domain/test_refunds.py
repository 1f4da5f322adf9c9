"""Refunds: the table of their status transitions, and what is left to refund and to put back on the shelf."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from order_payments.domain.orders import MAXIMUM_PRODUCTS, Order, OrderLine, OrderStatus, Override, PaymentAttempt
from order_payments.domain.refunds import (
    REFUND_TRANSITIONS,
    Refund,
    RefundFailure,
    RefundKind,
    RefundStatus,
    advance,
    claimed_amount,
    external_refund_id,
    find_late_refund,
    late_refund_id,
    refunded_amount,
    restocked_units,
    staff_refund_id,
    stored_bytes,
    with_refund,
)
from order_payments.storage.order_records import order_from_item, order_to_item, refunds_to_item

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(days=3)
OWED, PENDING, SUCCEEDED, FAILED, REFUSED = RefundStatus
ALLOWED = {
    *product([OWED], [PENDING, SUCCEEDED, FAILED, REFUSED]),
    *product([PENDING], [SUCCEEDED, FAILED]),
    (SUCCEEDED, FAILED),
}


def refund(status: RefundStatus = SUCCEEDED, amount: int = 1000, *, intent_id: str = "pi_1", **more: Any) -> Refund:
    fields: dict[str, Any] = {"refund_id": f"ref_{status}_{amount}", "kind": RefundKind.STAFF, **more}
    return Refund(status=status, amount=amount, payment_intent_id=intent_id, created_at=NOW, updated_at=NOW, **fields)


def late_refund(status: RefundStatus, intent_id: str = "pi_2", **more: Any) -> Refund:
    return refund(
        status, intent_id=intent_id, refund_id=late_refund_id(intent_id), kind=RefundKind.LATE_PAYMENT, **more
    )


def order(status: OrderStatus = OrderStatus.CONFIRMED, *refunds: Refund) -> Order:
    """Return an order of five units of tea, two of them in a second line, with an attempt on `pi_1`."""
    lines = [OrderLine("tea", "Tea", 3, 450), OrderLine("cup", "Cup", 1, 1299), OrderLine("tea", "Tea", 2, 450)]
    attempt = PaymentAttempt("att_1", "pi_1", "pm_card_visa", NOW)
    return replace(Order.place("alice", lines, "usd", NOW), status=status, attempt=attempt, refunds=refunds)


@pytest.mark.parametrize(("before", "after"), list(product(RefundStatus, RefundStatus)))
def test_refund_changes_status_only_towards_its_end(before: RefundStatus, after: RefundStatus) -> None:
    assert refund(before).may_become(after) == ((before, after) in ALLOWED)


def test_each_status_has_its_transitions() -> None:
    assert set(REFUND_TRANSITIONS) == set(RefundStatus)


@pytest.mark.parametrize(
    ("status", "claims", "counts"),
    [
        (OWED, True, False),
        (PENDING, True, True),
        (SUCCEEDED, True, True),
        (FAILED, False, False),
        (REFUSED, False, False),
    ],
)
def test_unsuccessful_refund_gives_its_amount_back(status: RefundStatus, *, claims: bool, counts: bool) -> None:
    refunds = [refund(status, 300), refund(SUCCEEDED, 50)]

    assert claimed_amount(refunds, "pi_1") == (350 if claims else 50)
    assert refunded_amount(refunds) == (350 if counts else 50)


def test_refund_of_another_charge_claims_nothing() -> None:
    assert claimed_amount([refund(intent_id="pi_2")], "pi_1") == 0


@pytest.mark.parametrize("end", [FAILED, REFUSED])
def test_refund_that_was_never_sent_puts_nothing_back_on_the_shelf(end: RefundStatus) -> None:
    ended = advance(refund(OWED, restock=(("tea", 2),)), end, now=LATER)

    assert (ended.status, ended.updated_at, ended.restock) == (end, LATER, ())


@pytest.mark.parametrize("before", [PENDING, SUCCEEDED])
def test_refund_that_fails_later_keeps_its_units_on_the_shelf(before: RefundStatus) -> None:
    sent = refund(before, restock=(("tea", 2),), stripe_refund_id="re_1")

    failed = advance(sent, FAILED, now=LATER, failure=RefundFailure("lost_or_stolen_card", "No."))

    assert (failed.restock, failed.stripe_refund_id) == ((("tea", 2),), "re_1")
    assert order(OrderStatus.CONFIRMED, failed).restockable_units() == {"tea": 3, "cup": 1}


def test_advanced_refund_takes_the_amount_that_stripe_returned() -> None:
    assert advance(refund(OWED, 1000), SUCCEEDED, now=LATER, amount=700).amount == 700
    assert advance(refund(OWED, 1000), SUCCEEDED, now=LATER).amount == 1000


def test_owed_units_cannot_be_put_back_a_second_time() -> None:
    refunds = [refund(OWED, restock=(("tea", 1),)), refund(SUCCEEDED, restock=(("tea", 2), ("cup", 1)))]

    assert restocked_units(refunds) == {"tea": 3, "cup": 1}
    assert order(OrderStatus.CONFIRMED, *refunds).restockable_units() == {"tea": 2, "cup": 0}


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CANCELLED])
def test_order_that_sold_nothing_has_nothing_to_put_back(status: OrderStatus) -> None:
    assert order(status).restockable_units() == {}


def test_confirmed_order_is_refundable_up_to_its_own_charge() -> None:
    assert order().refundable_intent_id == "pi_1"
    assert order(OrderStatus.CONFIRMED, late_refund(FAILED)).refundable_intent_id == "pi_1"


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
@pytest.mark.parametrize("end", RefundStatus)
def test_late_payment_is_refundable_by_hand_once_its_refund_is_unsuccessful(
    status: OrderStatus, end: RefundStatus
) -> None:
    settled_by_hand = replace(order(status, late_refund(end)), override=Override("ada", NOW, "By hand."), attempt=None)

    assert settled_by_hand.refundable_intent_id == ("pi_2" if end in (FAILED, REFUSED) else None)


def test_refunded_amount_of_a_confirmed_order_leaves_out_its_late_payments() -> None:
    sent = refund(SUCCEEDED, 300, stripe_refund_id="re_1")
    late = late_refund(SUCCEEDED, stripe_refund_id="re_2")

    assert order(OrderStatus.CONFIRMED, sent, late).refunded_amount == 300
    assert order(OrderStatus.CANCELLED, late).refunded_amount == 1000


@pytest.mark.parametrize("status", [OWED, REFUSED])
def test_order_without_a_sent_refund_has_no_refunded_amount(status: RefundStatus) -> None:
    assert order(OrderStatus.CONFIRMED, refund(status)).refunded_amount is None


def test_refunded_amount_is_zero_after_the_only_refund_failed() -> None:
    assert order(OrderStatus.CONFIRMED, refund(FAILED, stripe_refund_id="re_1")).refunded_amount == 0


def test_refund_ids_differ_by_order_admin_and_key() -> None:
    ids = [staff_refund_id(*arguments) for arguments in product(["ord_1", "ord_2"], ["ada", "bob"], ["key-1", "key-2"])]
    ids += [staff_refund_id("ord_1", "ada", None) for _ in range(2)]
    ids += [late_refund_id("pi_1"), late_refund_id("pi_2"), external_refund_id("re_1"), external_refund_id("re_2")]

    assert len(set(ids)) == len(ids)
    assert staff_refund_id("ord_1", "ada", "key-1") == ids[0]


def test_changed_refund_keeps_its_place() -> None:
    first, second = refund(OWED, refund_id="ref_1"), refund(refund_id="ref_2")
    changed = replace(first, status=SUCCEEDED)

    assert with_refund([first, second], changed) == (changed, second)
    assert with_refund([first], second) == (first, second)


def test_each_late_payment_has_its_own_refund() -> None:
    refunds = (late_refund(SUCCEEDED, "pi_2"), late_refund(OWED, "pi_3"))

    assert find_late_refund(refunds, "pi_3") == refunds[1]
    assert find_late_refund(refunds, "pi_4") is None


REFUNDS = {
    "owed": refund(OWED, reason="Broken.", restock=(("tea", 2), ("cup", 1)), by="ada", request_id="1"),
    "failed": refund(FAILED, stripe_refund_id="re_1", failure=RefundFailure("declined", "No.")),
    "late and owed": late_refund(OWED),
    "late and refused": late_refund(REFUSED, failure=RefundFailure("charge_disputed", "No.")),
    "external": refund(PENDING, kind=RefundKind.EXTERNAL, stripe_refund_id="re_1"),
}


@pytest.mark.parametrize("recorded", REFUNDS.values(), ids=REFUNDS)
def test_refund_is_read_as_it_was_stored(recorded: Refund) -> None:
    stored = replace(order(OrderStatus.CANCELLED, recorded), refunds_version=1)

    assert order_from_item(order_to_item(stored)) == stored


def test_second_late_payment_is_stored_with_the_other_refunds() -> None:
    stored = order(OrderStatus.CANCELLED, late_refund(SUCCEEDED, "pi_2"), late_refund(OWED, "pi_3"), refund())

    assert order_from_item(order_to_item(stored)) == stored


@pytest.mark.parametrize("restocked", [0, MAXIMUM_PRODUCTS])
def test_largest_refund_takes_no_more_bytes_than_estimated(restocked: int) -> None:
    largest = refund(
        FAILED,
        99_999_999_999,
        refund_id=f"ref_{32 * '0'}",
        intent_id="pi_" + 24 * "0",
        stripe_refund_id="re_" + 24 * "0",
        kind=RefundKind.STAFF,
        reason=500 * "😀",
        restock=tuple((f"{number:064}", 999_999_999) for number in range(restocked)),
        by=255 * "😀",
        request_id=36 * "0",
        request_fingerprint=64 * "0",
        failure=RefundFailure(500 * "a", 500 * "😀"),
    )

    # DynamoDB counts names, values, three bytes per list or map, and one per element.
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    assert item_bytes(TypeSerializer().serialize(refunds_to_item([largest])["refunds"][0])) <= stored_bytes([largest])


def item_bytes(value: dict[str, Any]) -> int:
    """Return the bytes that a value takes in an item."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return len(content) // 2 + 2
        case "L":
            return 3 + sum(1 + item_bytes(each) for each in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + item_bytes(each) for name, each in content.items())
        case _:
            raise ValueError(kind)
