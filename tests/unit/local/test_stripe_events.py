"""Events that `make event` sends: their subjects, and the refunds that change before them."""

import time

import pytest
import stripe

from dummy_stripe import REFUND_CHANGE_SECONDS, EventType, MemoryStore, Store
from dummy_stripe.http_client import DummyStripeHTTPClient
from local.shop.stripe_events import make_events


@pytest.fixture
def store() -> Store:
    return MemoryStore()


def pay(store: Store, card: str, *refunds: int) -> str:
    """Return the id of an intent that was paid, and refunded by each of the amounts."""
    client = stripe.StripeClient("sk_test_1", http_client=DummyStripeHTTPClient(store)).v1
    intent = client.payment_intents.create({"amount": 500, "currency": "usd", "payment_method_types": ["card"]})
    client.payment_intents.confirm(intent.id, {"payment_method": card})
    for amount in refunds:
        client.refunds.create({"payment_intent": intent.id, "amount": amount})
    return intent.id


def make(store: Store, event_type: EventType, wait: float = 0) -> dict[str, dict[str, object]]:
    """Return the subject of each event by the id of its intent. `wait` has passed since the refunds, in seconds."""
    events = make_events(store, store.intents(), event_type, time.time() + wait)
    return {intent_id: event["data"]["object"] for intent_id, event in events.items()}


def statuses(store: Store) -> list[str]:
    return [refund.status for intent in store.intents() for refund in intent.refunds]


def test_payment_event_changes_nothing_and_is_about_every_intent(store: Store) -> None:
    ids = [pay(store, "pm_card_pendingRefund", 100), pay(store, "pm_card_visa")]
    before = store.intents()

    subjects = make(store, EventType.PAYMENT_INTENT_SUCCEEDED)

    assert [subject["id"] for subject in subjects.values()] == ids
    assert store.intents() == before


def test_refund_event_is_about_refunded_intents_only(store: Store) -> None:
    pay(store, "pm_card_visa")
    refunded = pay(store, "pm_card_visa", 100)

    assert make(store, EventType.CHARGE_REFUNDED).keys() == {refunded}
    assert make(store, EventType.REFUND_CREATED)[refunded]["status"] == "succeeded"
    assert statuses(store) == ["succeeded"]


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_pendingRefund", "pm_card_refundFail"])
@pytest.mark.parametrize("wait", [0, REFUND_CHANGE_SECONDS])
def test_refund_failed_event_makes_the_newest_refund_fail(store: Store, card: str, wait: float) -> None:
    intent = pay(store, card, 100, 200)

    subjects = [make(store, EventType.REFUND_FAILED, wait)[intent] for _ in range(2)]

    assert subjects[0] == subjects[1]
    assert (subjects[0]["amount"], subjects[0]["status"]) == (200, "failed")
    if not wait:
        assert statuses(store)[1] == "failed"
        assert statuses(store)[0] != "failed"


@pytest.mark.parametrize("event_type", [EventType.REFUND_UPDATED, EventType.CHARGE_REFUND_UPDATED])
def test_refund_updated_event_lets_a_pending_refund_succeed(store: Store, event_type: EventType) -> None:
    intent = pay(store, "pm_card_pendingRefund", 100, 200)

    subject = make(store, event_type)[intent]

    assert (subject["amount"], subject["status"]) == (200, "succeeded")
    assert statuses(store) == ["pending", "succeeded"]


def test_refund_updated_event_reports_a_failure_unchanged(store: Store) -> None:
    intent = pay(store, "pm_card_visa", 100)
    make(store, EventType.REFUND_FAILED)

    assert make(store, EventType.REFUND_UPDATED)[intent]["status"] == "failed"
