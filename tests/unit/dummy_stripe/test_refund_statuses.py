"""Refunds that are pending, fail later or are refused, by card and on request."""

from dataclasses import replace

import pytest
import stripe

from dummy_stripe import (
    REFUND_CHANGE_SECONDS,
    MemoryStore,
    RefundBehavior,
    RefundStatus,
    end_refund,
    set_refund_behavior,
)
from dummy_stripe.objects import Intent

from .conftest import dummy_on
from .test_races import THREADS, run_before_next_write, run_concurrently
from .test_refunds import charge_of


def pay_with(dummy, token: str, **params) -> str:
    """Return the id of a new intent that was paid with the card."""
    paid: stripe.PaymentIntent = dummy.confirm(dummy.create(**params).id, token)
    assert paid.status == "succeeded"
    return paid.id


def wait(dummy) -> None:
    dummy.clock.now += REFUND_CHANGE_SECONDS


# By card.


def test_pending_refund_succeeds_later(dummy):
    intent = pay_with(dummy, "pm_card_pendingRefund")
    refund = dummy.refund(intent, amount=1000)
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert charge_of(dummy, intent).amount_refunded == 1000

    dummy.clock.now += REFUND_CHANGE_SECONDS - 1
    assert dummy.refunds.retrieve(refund.id).status == "pending"
    dummy.clock.now += 1
    later = dummy.refunds.retrieve(refund.id)
    assert (later.status, "pending_reason" in later) == ("succeeded", False)
    assert charge_of(dummy, intent).amount_refunded == 1000


def test_failed_refund_has_succeeded_before(dummy):
    intent = pay_with(dummy, "pm_card_refundFail")
    refund = dummy.refund(intent)
    assert (refund.status, charge_of(dummy, intent).refunded) == ("succeeded", True)

    wait(dummy)
    failed = dummy.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction.startswith("txn_")
    assert (failed.amount, failed.currency) == (4599, "usd")
    assert dummy.refunds.retrieve(refund.id) == failed


def test_failed_refund_is_no_longer_refunded_on_the_charge(dummy):
    intent = pay_with(dummy, "pm_card_refundFail")
    dummy.refund(intent, amount=1000)
    wait(dummy)

    charge = charge_of(dummy, intent)
    assert (charge.amount_refunded, charge.refunded, charge.paid) == (0, False, True)
    assert dummy.refund(intent).amount == 4599


def test_retry_of_a_refund_that_failed_is_replayed(dummy):
    intent = pay_with(dummy, "pm_card_refundFail")
    first = dummy.refund(intent, "refund-1")
    wait(dummy)

    again = dummy.refund(intent, "refund-1")
    assert (again.id, again.status) == (first.id, "succeeded")
    assert [refund.status for refund in dummy.refunds.list({"payment_intent": intent}).data] == ["failed"]


@pytest.mark.parametrize(
    ("token", "status"), [("pm_card_pendingRefund", "succeeded"), ("pm_card_refundFail", "failed")]
)
@pytest.mark.parametrize("read", ["refund", "refunds", "refunds of the intent", "intent", "intents"])
def test_due_change_is_written_when_it_is_read(dummy, token, status, read):
    intent = pay_with(dummy, token)
    refund = dummy.refund(intent)
    wait(dummy)
    reads = {
        "refund": lambda: dummy.refunds.retrieve(refund.id),
        "refunds": dummy.refunds.list,
        "refunds of the intent": lambda: dummy.refunds.list({"payment_intent": intent}),
        "intent": lambda: dummy.intents.retrieve(intent),
        "intents": dummy.intents.list,
    }

    reads[read]()

    (charge,) = dummy.store.charges()
    assert [refund.status for refund in charge.refunds] == [status]


def test_ordinary_refund_never_changes(dummy):
    refund = dummy.refund(dummy.pay().id)
    wait(dummy)

    assert dummy.refunds.retrieve(refund.id) == refund


@pytest.mark.parametrize("by", ["payment_intent", "charge"])
def test_refund_of_a_disputed_charge_is_refused(dummy, error_of, by):
    intent = pay_with(dummy, "pm_card_createDispute")
    charge = charge_of(dummy, intent)
    assert (charge.disputed, charge.paid, charge.status) == (True, True, "succeeded")

    error = error_of(lambda: dummy.refunds.create({by: intent if by == "payment_intent" else charge.id}))

    assert isinstance(error, stripe.InvalidRequestError)
    assert (error.http_status, error.code, error.param) == (400, "charge_disputed", None)
    assert error.user_message == f"Charge {charge.id} has been charged back; cannot issue a refund."
    assert dummy.refunds.list().data == []
    assert charge_of(dummy, dummy.pay().id).disputed is False


# On request.


def test_any_refund_can_be_made_pending_and_then_fail(dummy):
    intent = dummy.pay().id
    set_refund_behavior(dummy.store, intent, RefundBehavior.PENDING, dummy.clock())
    refund = dummy.refund(intent, amount=1000)
    assert refund.status == "pending"

    end_refund(dummy.store, refund.id, RefundStatus.FAILED, dummy.clock(), "lost_or_stolen_card")
    failed = dummy.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "lost_or_stolen_card")
    assert charge_of(dummy, intent).amount_refunded == 0
    wait(dummy)
    assert dummy.refunds.retrieve(refund.id) == failed


@pytest.mark.parametrize(
    ("status", "reason", "refunded"),
    [("succeeded", None, 4599), ("failed", "expired_or_canceled_card", 0), ("canceled", "merchant_request", 0)],
)
@pytest.mark.parametrize("token", ["pm_card_visa", "pm_card_pendingRefund", "pm_card_refundFail"])
def test_refund_ends_at_once_on_request(dummy, token, status, reason, refunded):
    intent = pay_with(dummy, token)
    refund = dummy.refund(intent)

    changed = end_refund(dummy.store, refund.id, RefundStatus(status), dummy.clock())

    assert changed == dummy.store.intent(intent)
    wait(dummy)
    ended = dummy.refunds.retrieve(refund.id)
    assert (ended.status, getattr(ended, "failure_reason", None)) == (status, reason)
    assert charge_of(dummy, intent).amount_refunded == refunded


@pytest.mark.parametrize("status", [RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.CANCELED])
def test_ended_refund_cannot_change_again(memory_dummy, status):
    refund = memory_dummy.refund(memory_dummy.pay().id)
    end_refund(memory_dummy.store, refund.id, RefundStatus.FAILED, memory_dummy.clock())

    with pytest.raises(ValueError, match=f"is failed and cannot become {status}"):
        end_refund(memory_dummy.store, refund.id, status, memory_dummy.clock())


def test_refund_whose_failure_is_due_cannot_end_on_request(memory_dummy):
    refund = memory_dummy.refund(pay_with(memory_dummy, "pm_card_refundFail"))
    wait(memory_dummy)

    with pytest.raises(ValueError, match="is failed and cannot become canceled"):
        end_refund(memory_dummy.store, refund.id, RefundStatus.CANCELED, memory_dummy.clock())


def test_unknown_or_unpaid_objects_cannot_be_changed_on_request(memory_dummy):
    store, now = memory_dummy.store, memory_dummy.clock()
    refund = memory_dummy.refund(memory_dummy.pay().id)

    with pytest.raises(ValueError, match="cannot become pending"):
        end_refund(store, refund.id, RefundStatus.PENDING, now)
    with pytest.raises(ValueError, match="no such refund: re_none"):
        end_refund(store, "re_none", RefundStatus.FAILED, now)
    with pytest.raises(ValueError, match="no such payment_intent: pi_none"):
        set_refund_behavior(store, "pi_none", RefundBehavior.DISPUTED, now)
    with pytest.raises(ValueError, match="is not paid"):
        set_refund_behavior(store, memory_dummy.create().id, RefundBehavior.DISPUTED, now)


def test_dispute_on_request_fails_the_pending_refunds(dummy, error_of):
    intent = pay_with(dummy, "pm_card_pendingRefund")
    first = dummy.refund(intent, amount=1000)
    end_refund(dummy.store, first.id, RefundStatus.SUCCEEDED, dummy.clock())
    pending = dummy.refund(intent, amount=1000)

    set_refund_behavior(dummy.store, intent, RefundBehavior.DISPUTED, dummy.clock())

    assert dummy.refunds.retrieve(pending.id).failure_reason == "charge_for_pending_refund_disputed"
    assert dummy.refunds.retrieve(first.id).status == "succeeded"
    assert (charge_of(dummy, intent).amount_refunded, charge_of(dummy, intent).disputed) == (1000, True)
    assert error_of(lambda: dummy.refund(intent)).code == "charge_disputed"
    set_refund_behavior(dummy.store, intent, None, dummy.clock())
    assert dummy.refund(intent).status == "succeeded"


def test_refund_made_in_stripes_dashboard_has_no_metadata(dummy):
    intent = dummy.pay(metadata={"orderId": "o1"}).id

    dummy.in_another_process().refunds.create({"payment_intent": intent, "amount": 1000})

    (found,) = dummy.refunds.list({"payment_intent": intent}).data
    assert (found.amount, found.metadata.to_dict(), found.reason) == (1000, {}, None)


# Updates, cancellation and lists.


def test_update_merges_metadata(dummy):
    refund = dummy.refund(dummy.pay().id, metadata={"orderId": "o1", "kind": "late"})

    updated = dummy.refunds.update(refund.id, {"metadata": {"ticket": "7", "kind": ""}})
    assert updated.metadata.to_dict() == {"orderId": "o1", "ticket": "7"}
    assert dummy.refunds.update(refund.id, {"expand": ["charge"]}).charge.amount_refunded == 4599
    assert dummy.refunds.retrieve(refund.id).metadata.to_dict() == {"orderId": "o1", "ticket": "7"}
    dummy.refunds.update(refund.id, {"metadata": ""})
    assert dummy.refunds.retrieve(refund.id).metadata.to_dict() == {}


def test_repeated_update_is_replayed(dummy):
    refund = dummy.refund(dummy.pay().id)
    first = dummy.refunds.update(refund.id, {"metadata": {"ticket": "7"}}, {"idempotency_key": "update-1"})
    dummy.refunds.update(refund.id, {"metadata": {"ticket": "8"}})

    again = dummy.refunds.update(refund.id, {"metadata": {"ticket": "7"}}, {"idempotency_key": "update-1"})
    assert again == first
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert dummy.refunds.retrieve(refund.id).metadata["ticket"] == "8"


def test_invalid_update_is_refused(dummy, error_of):
    refund = dummy.refund(dummy.pay().id, metadata={f"key{number}": "x" for number in range(50)})

    assert error_of(lambda: dummy.refunds.update("re_none")).code == "resource_missing"
    assert error_of(lambda: dummy.refunds.update(refund.id, {"amount": 1})).code == "parameter_unknown"
    assert error_of(lambda: dummy.refunds.update(refund.id, {"metadata": {"one": "too many"}})).param == "metadata"
    too_long = error_of(lambda: dummy.refunds.update(refund.id, {"metadata": {"key1": "x" * 501}}))
    assert too_long.user_message.startswith("Metadata values can have up to 500 characters")
    assert dummy.refunds.retrieve(refund.id) == refund


@pytest.mark.parametrize("token", ["pm_card_visa", "pm_card_pendingRefund"])
def test_refund_of_a_card_cannot_be_canceled_by_the_api(dummy, error_of, token):
    refund = dummy.refund(pay_with(dummy, token))

    error = error_of(lambda: dummy.refunds.cancel(refund.id))

    assert (error.http_status, error.error.type) == (400, "invalid_request_error")
    assert f"its status is {refund.status}" in error.user_message
    assert dummy.refunds.retrieve(refund.id) == refund
    assert error_of(lambda: dummy.refunds.cancel("re_none")).code == "resource_missing"


def test_lists_can_be_limited_to_a_time(dummy):
    intent = dummy.pay()
    refunds = []
    for _ in range(3):
        refunds.insert(0, dummy.refund(intent.id, amount=100))
        dummy.clock.now += 10
    newest, middle, oldest = (refund.created for refund in refunds)

    def listed(**created) -> list[int]:
        return [refund.created for refund in dummy.refunds.list({"created": created}).data]

    assert listed(gte=middle) == [newest, middle]
    assert listed(gt=middle) == [newest]
    assert listed(lte=middle) == [middle, oldest]
    assert listed(lt=middle) == [oldest]
    assert listed(gt=oldest, lt=newest) == [middle]
    assert listed(gte=0) == [newest, middle, oldest]
    assert [refund.created for refund in dummy.refunds.list({"created": middle}).data] == [middle]
    page = dummy.refunds.list({"created": {"gte": oldest}, "limit": 1, "starting_after": refunds[0].id})
    assert ([refund.created for refund in page.data], page.has_more) == ([middle], True)
    page = dummy.refunds.list({"created": {"lte": middle}, "limit": 1, "ending_before": refunds[2].id})
    assert ([refund.created for refund in page.data], page.has_more) == ([middle], False)
    assert dummy.intents.list({"created": {"gt": intent.created}}).data == []
    assert len(dummy.intents.list({"created": {"lte": intent.created}}).data) == 1


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("created[since]=1", "parameter_unknown", "created[since]"),
        ("created[gte]=soon", "parameter_invalid_integer", "created[gte]"),
        ("created=-1", "parameter_invalid_integer", "created"),
    ],
)
def test_invalid_time_limit_is_refused(dummy, query, code, param):
    response = dummy.raw("get", f"/v1/refunds?{query}")

    assert response.status == 400
    assert (response.body["error"]["code"], response.body["error"]["param"]) == (code, param)


# Races and stored forms.


def test_refund_that_ends_while_it_is_read_shows_a_status_that_existed(dummy):
    refund = dummy.refund(pay_with(dummy, "pm_card_pendingRefund"))
    # The rival's clock stands before the due change.
    before = dummy.clock()
    wait(dummy)
    run_before_next_write(dummy, lambda: end_refund(dummy.store, refund.id, RefundStatus.CANCELED, before))

    assert dummy.refunds.retrieve(refund.id).status == "canceled"
    assert dummy.refunds.retrieve(refund.id).status == "canceled"


def test_request_to_end_a_refund_that_loses_a_race_is_repeated(dummy):
    intent = dummy.pay().id
    refund = dummy.refund(intent, amount=1000)
    run_before_next_write(dummy, lambda: dummy.in_another_process().refund(intent, amount=500))

    end_refund(dummy.store, refund.id, RefundStatus.FAILED, dummy.clock())

    statuses = {refund.amount: refund.status for refund in dummy.refunds.list().data}
    assert statuses == {1000: "failed", 500: "succeeded"}


def test_update_that_loses_to_a_failure_keeps_it(dummy):
    refund = dummy.refund(dummy.pay().id)
    run_before_next_write(dummy, lambda: end_refund(dummy.store, refund.id, RefundStatus.FAILED, dummy.clock()))

    assert dummy.refunds.update(refund.id, {"metadata": {"ticket": "7"}}).status == "failed"


def test_refunds_that_fail_meanwhile_never_exceed_the_charge(memory_dummy):
    intent = memory_dummy.pay(amount=1000).id
    first = memory_dummy.refund(intent, amount=600)

    class Ended:
        status = "ended"

    def fail() -> Ended:
        end_refund(memory_dummy.store, first.id, RefundStatus.FAILED, memory_dummy.clock())
        return Ended()

    outcomes = run_concurrently(fail, *[lambda: memory_dummy.refund(intent, amount=300)] * (THREADS - 1))

    (charge,) = memory_dummy.store.charges()
    assert charge.amount_refunded == 300 * outcomes.count("succeeded") <= 1000
    assert memory_dummy.refunds.retrieve(first.id).status == "failed"


def test_ordinary_refund_is_stored_in_the_form_of_the_last_release(memory_dummy):
    paid = memory_dummy.pay()
    memory_dummy.refund(paid.id)

    stored = memory_dummy.store.intent(paid.id).to_json()
    for added in ("refund_behavior", "changes_at", "failure_reason"):
        assert added not in stored
    assert stored.count('"status"') == 2  # the intent's and the charge's


def test_refund_of_the_last_release_is_found(dummy):
    refund = dummy.refund(dummy.pay().id)
    (intent,) = dummy.store.intents()
    old_id = "re_3abcdefghijklmnopqrstuvwx"
    stored = Intent.from_json(intent.to_json().replace(refund.id, old_id))
    assert dummy.store.write(replace(stored, version=intent.version + 1), None)

    assert dummy.refunds.retrieve(old_id).amount == 4599
    end_refund(dummy.store, old_id, RefundStatus.FAILED, dummy.clock())
    assert dummy.refunds.retrieve(old_id).status == "failed"


@pytest.mark.parametrize("token", ["pm_card_pendingRefund", "pm_card_refundFail", "pm_card_createDispute"])
def test_refund_behavior_survives_the_store(token):
    dummy = dummy_on(MemoryStore())
    intent = pay_with(dummy, token)
    if token != "pm_card_createDispute":
        refund = dummy.refund(intent, amount=1000)
        end_refund(dummy.store, refund.id, RefundStatus.FAILED, dummy.clock())
        dummy.refund(intent, amount=500)
    stored = dummy.store.intent(intent)

    assert Intent.from_json(stored.to_json()) == stored
