"""Refunds: their lifecycle, refusals, and the limit of the charged amount."""

from dataclasses import replace

import pytest
import stripe

from dummy_stripe import PROCESSING_SECONDS, ChargeStatus
from dummy_stripe.objects import Intent

from .test_races import THREADS, run_before_next_write, run_concurrently


def charge_of(dummy, intent_id: str) -> stripe.Charge:
    """Return the intent's expanded `latest_charge`."""
    charge = dummy.intents.retrieve(intent_id, {"expand": ["latest_charge"]}).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge


def test_refund_without_amount_returns_the_whole_charge(dummy):
    intent = dummy.pay(metadata={"orderId": "o1"})
    refund = dummy.refund(intent.id, reason="requested_by_customer", metadata={"orderId": "o1"})

    assert refund.id.startswith("re_")
    assert (refund.amount, refund.currency, refund.status) == (4599, "usd", "succeeded")
    assert (refund.payment_intent, refund.charge, refund.payment_method) == (
        intent.id,
        intent.latest_charge,
        "pm_card_visa",
    )
    assert (refund.reason, refund.metadata["orderId"]) == ("requested_by_customer", "o1")
    assert refund.created == int(dummy.clock.now)


def test_refunded_intent_stays_succeeded_and_its_charge_is_refunded(dummy):
    intent = dummy.pay()
    dummy.refund(intent.id)

    charge = charge_of(dummy, intent.id)
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (4599, 4599, 4599)
    assert (charge.refunded, charge.paid, charge.status) == (True, True, "succeeded")
    refunded = dummy.intents.retrieve(intent.id)
    assert (refunded.status, refunded.amount_received) == ("succeeded", 4599)


def test_ledger_has_the_refunds_of_each_charge(dummy):
    paid, refunded = dummy.pay(), dummy.pay()
    refund = dummy.refund(refunded.id, amount=1000, reason="duplicate", metadata={"orderId": "o1"})

    first, second = dummy.store.charges()
    assert (first.id, first.refunds, first.amount_refunded) == (paid.latest_charge, (), 0)
    assert (second.id, second.amount_refunded) == (refunded.latest_charge, 1000)
    (recorded,) = second.refunds
    assert (recorded.id, recorded.amount) == (refund.id, 1000)
    assert (recorded.reason, recorded.metadata) == ("duplicate", {"orderId": "o1"})


def test_charge_can_be_refunded_in_parts(dummy, error_of):
    intent = dummy.pay()
    assert dummy.refund(intent.id, amount=1000).amount == 1000
    assert (charge_of(dummy, intent.id).amount_refunded, charge_of(dummy, intent.id).refunded) == (1000, False)

    assert dummy.refund(intent.id).amount == 3599
    assert charge_of(dummy, intent.id).refunded is True
    assert error_of(lambda: dummy.refund(intent.id)).code == "charge_already_refunded"


def test_refund_accepts_the_charge_instead_of_the_intent(dummy):
    intent = dummy.pay()
    refund = dummy.refunds.create({"charge": str(intent.latest_charge)})

    assert (refund.payment_intent, refund.charge) == (intent.id, intent.latest_charge)


def test_refund_applies_to_the_successful_charge(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.CardError):
        dummy.confirm(intent.id, "pm_card_visa_chargeDeclined")
    paid = dummy.confirm(intent.id)

    assert dummy.refund(intent.id).charge == paid.latest_charge
    assert [charge.amount_refunded for charge in dummy.store.charges()] == [0, 4599]


def test_payment_can_be_refunded_once_processing_has_succeeded(dummy, error_of):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")
    assert "successful charge" in error_of(lambda: dummy.refund(intent.id)).user_message

    dummy.clock.now += PROCESSING_SECONDS
    assert dummy.refund(intent.id).amount == 4599


def test_refund_can_be_retrieved_with_expanded_objects(dummy):
    intent = dummy.pay()
    created = dummy.refund(intent.id, amount=1000)

    assert dummy.refunds.retrieve(created.id) == created
    expanded = dummy.refunds.retrieve(created.id, {"expand": ["charge", "payment_intent"]})
    assert (expanded.charge.amount_refunded, expanded.payment_intent.status) == (1000, "succeeded")


def test_refunds_are_listed_newest_first_by_intent_or_charge(dummy):
    intent, other = dummy.pay(), dummy.pay()
    ids = [dummy.refund(intent.id, amount=100).id for _ in range(3)][::-1]
    last = dummy.refund(other.id).id

    assert [refund.id for refund in dummy.refunds.list().data] == [last, *ids]
    assert [refund.id for refund in dummy.refunds.list({"payment_intent": intent.id}).data] == ids
    assert [refund.id for refund in dummy.refunds.list({"charge": str(other.latest_charge)}).data] == [last]
    page = dummy.refunds.list({"payment_intent": intent.id, "limit": 2})
    assert [refund.id for refund in page.auto_paging_iter()] == ids


def test_charge_stored_by_a_release_without_refunds_has_none(memory_dummy):
    intent = memory_dummy.store.intent(memory_dummy.pay().id)

    assert Intent.from_json(intent.to_json().replace(',"refunds":[]', "")) == intent


# Refusals.


def failed_charge(dummy) -> dict[str, str]:
    with pytest.raises(stripe.CardError) as caught:
        dummy.confirm(dummy.create().id, "pm_card_visa_chargeDeclined")
    return {"charge": caught.value.error.charge}


UNPAID = {
    "new": lambda dummy: {"payment_intent": dummy.create().id},
    "canceled": lambda dummy: {"payment_intent": dummy.intents.cancel(dummy.create().id).id},
    "processing": lambda dummy: {"payment_intent": dummy.confirm(dummy.create().id, "pm_dummy_processing").id},
    "a failed charge": failed_charge,
}


@pytest.mark.parametrize("state", UNPAID)
def test_refund_without_a_successful_charge_is_refused(dummy, error_of, state):
    error = error_of(lambda: dummy.refunds.create(UNPAID[state](dummy)))

    (intent,) = dummy.store.intents()
    assert (error.http_status, error.code, error.param) == (400, None, None)
    assert error.user_message == f"This PaymentIntent ({intent.id}) does not have a successful charge to refund."


def test_refund_of_a_failed_charge_of_a_paid_intent_is_refused(memory_dummy, error_of):
    charge = failed_charge(memory_dummy)
    (intent,) = memory_dummy.store.intents()
    memory_dummy.confirm(intent.id)

    assert "successful charge" in error_of(lambda: memory_dummy.refunds.create(charge)).user_message
    assert sum(charge.amount_refunded for charge in memory_dummy.store.charges()) == 0


def test_second_full_refund_is_refused(dummy, error_of):
    intent = dummy.pay()
    dummy.refund(intent.id)
    for again in ({"payment_intent": intent.id}, {"charge": intent.latest_charge, "amount": 1}):
        error = error_of(lambda again=again: dummy.refunds.create(again))
        assert (error.http_status, error.code, error.param) == (400, "charge_already_refunded", None)
        assert error.user_message == f"Charge {intent.latest_charge} has already been refunded."


@pytest.mark.parametrize(
    ("currency", "refunded", "amount", "texts"),
    [
        ("usd", 1000, 3600, ("$36.00", "$35.99")),
        ("jpy", 1, 4599, ("¥4,599", "¥4,598")),
        ("eur", 1, 10**30, (None, "€45.98")),
    ],
)
def test_refund_above_the_unrefunded_amount_is_refused(memory_dummy, error_of, currency, refunded, amount, texts):
    intent = memory_dummy.pay(currency=currency)
    memory_dummy.refund(intent.id, amount=refunded)
    error = error_of(lambda: memory_dummy.refund(intent.id, amount=amount))

    assert (error.http_status, error.code, error.param) == (400, None, "amount")
    requested, rest = texts
    assert error.user_message.endswith(f") is greater than unrefunded amount on charge ({rest})")
    assert requested is None or error.user_message.startswith(f"Refund amount ({requested})")


@pytest.mark.parametrize(("currency", "charged", "amount"), [("kwd", 5120, 125), ("isk", 4000, 1050)])
def test_refund_that_is_not_a_multiple_of_the_currencys_step_is_refused(
    memory_dummy, error_of, currency, charged, amount
):
    intent = memory_dummy.pay(amount=charged, currency=currency)

    error = error_of(lambda: memory_dummy.refund(intent.id, amount=amount))

    assert (error.http_status, error.param) == (400, "amount")
    assert error.code.startswith("invalid_charge_amount")
    assert memory_dummy.refund(intent.id).amount == charged


@pytest.mark.parametrize(
    ("form", "status", "code", "param", "message"),
    [
        (
            "amount=1",
            400,
            None,
            None,
            "One of the following params should be provided for this request:",
        ),
        ("charge=ch_1&payment_intent=pi_1", 400, None, "charge", "You may only specify one of these parameters"),
        ("charge=", 400, "parameter_invalid_empty", "charge", "You passed an empty string for 'charge'."),
        ("payment_intent=pi_none", 404, "resource_missing", "intent", "No such payment_intent: 'pi_none'"),
        ("charge=ch_none", 404, "resource_missing", "id", "No such charge: 'ch_none'"),
        ("payment_intent=pi_1&amount=0", 400, "parameter_invalid_integer", "amount", "This value must be greater than"),
        ("payment_intent=pi_1&amount=-1", 400, "parameter_invalid_integer", "amount", "This value must be greater"),
        ("payment_intent=pi_1&amount=1.5", 400, "parameter_invalid_integer", "amount", "Invalid integer: 1.5"),
        (
            "payment_intent=pi_1&reason=bored",
            400,
            None,
            "reason",
            "Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer",
        ),
        ("payment_intent=pi_1&colour=red", 400, "parameter_unknown", "colour", "Received unknown parameter: colour"),
        ("payment_intent=pi_1&expand[]=amount", 400, None, None, "This property cannot be expanded (amount)."),
        (f"payment_intent=pi_1&metadata[a]={'x' * 501}", 400, None, None, "Metadata values can have up to 500"),
    ],
)
def test_invalid_refund_is_refused(dummy, form, status, code, param, message):
    response = dummy.raw("post", "/v1/refunds", form)

    error = response.body["error"]
    assert (response.status, error["type"]) == (status, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["message"].startswith(message)


def test_unknown_refund_is_not_found(dummy, error_of):
    error = error_of(lambda: dummy.refunds.retrieve("re_none"))

    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "refund")
    assert error.user_message == "No such refund: 're_none'"
    assert error_of(lambda: dummy.refunds.list({"starting_after": "re_none"})).param == "starting_after"


def test_refunded_intent_can_be_neither_paid_nor_canceled(dummy, error_of):
    intent = dummy.pay()
    dummy.refund(intent.id)

    for call in (dummy.confirm, dummy.intents.cancel):
        assert error_of(lambda call=call: call(intent.id)).code == "payment_intent_unexpected_state"
    assert [charge.status for charge in dummy.store.charges()] == [ChargeStatus.SUCCEEDED]


# Repeated and concurrent requests.


def test_repeated_refund_is_made_once(dummy):
    intent = dummy.pay()
    first = dummy.refund(intent.id, "refund-1", amount=1000)
    again = dummy.refund(intent.id, "refund-1", amount=1000)

    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert charge_of(dummy, intent.id).amount_refunded == 1000


def test_refund_key_reused_for_another_request_is_refused(dummy):
    intent = dummy.pay()
    dummy.refund(intent.id, "refund-1", amount=1000)
    for call in (lambda: dummy.refund(intent.id, "refund-1"), lambda: dummy.create("refund-1")):
        with pytest.raises(stripe.IdempotencyError):
            call()

    assert charge_of(dummy, intent.id).amount_refunded == 1000


def test_refused_refund_is_replayed(dummy, error_of):
    intent = dummy.create()
    error_of(lambda: dummy.refund(intent.id, "refund-1"))
    dummy.confirm(intent.id)

    assert error_of(lambda: dummy.refund(intent.id, "refund-1")).headers["idempotent-replayed"] == "true"
    assert charge_of(dummy, intent.id).amount_refunded == 0


def test_refund_that_loses_to_another_is_refused(dummy, error_of):
    intent = dummy.pay()
    run_before_next_write(dummy, lambda: dummy.in_another_process().refund(intent.id))

    assert error_of(lambda: dummy.refund(intent.id)).code == "charge_already_refunded"
    assert charge_of(dummy, intent.id).amount_refunded == 4599


def test_partial_refund_that_loses_to_another_stays_within_the_rest(dummy, error_of):
    intent = dummy.pay()
    run_before_next_write(dummy, lambda: dummy.in_another_process().refund(intent.id, amount=2000))
    assert dummy.refund(intent.id, amount=2000).amount == 2000

    run_before_next_write(dummy, lambda: dummy.in_another_process().refund(intent.id, amount=500))
    assert error_of(lambda: dummy.refund(intent.id, amount=599)).param == "amount"
    assert charge_of(dummy, intent.id).amount_refunded == 4500


def test_concurrent_refunds_stay_within_the_charged_amount(memory_dummy):
    intent = memory_dummy.pay(amount=1000)
    outcomes = run_concurrently(*[lambda: memory_dummy.refund(intent.id, amount=300)] * THREADS)

    assert sorted(outcomes) == ["None"] * (THREADS - 3) + ["succeeded"] * 3
    (charge,) = memory_dummy.store.charges()
    assert charge.amount_refunded == 900


def test_concurrent_refunds_with_one_key_are_made_once(memory_dummy):
    intent = memory_dummy.pay()
    outcomes = run_concurrently(*[lambda: memory_dummy.refund(intent.id, "refund-1", amount=1000)] * THREADS)

    assert set(outcomes) <= {"succeeded", "idempotency_key_in_use"}
    (charge,) = memory_dummy.store.charges()
    assert charge.amount_refunded == 1000


@pytest.mark.parametrize("ending", ["", "8characs"], ids=["first release", "release with its intent's id"])
def test_refund_with_the_id_of_an_earlier_release_is_found(dummy, ending):
    intent = dummy.pay()
    dummy.refund(intent.id, amount=1000)
    stored = dummy.store.intent(intent.id)
    body = f"3{'a1' * 12}"[:24]
    (charge,) = stored.charges
    refunds = (replace(charge.refunds[0], id=f"re_{body}{ending}"),)
    earlier = replace(stored, id=f"pi_{body}", version=1, charges=(replace(charge, refunds=refunds),))
    assert dummy.store.write(earlier, None)

    assert dummy.refunds.retrieve(f"re_{body}{ending}").amount == 1000
    later = dummy.refund(f"pi_{body}", amount=500)
    assert dummy.refunds.retrieve(later.id).payment_intent == f"pi_{body}"
