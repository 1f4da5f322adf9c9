"""Giving money back: what becomes of a refund, what is refused, and that never more goes back than was charged."""

import pytest
import stripe

from dummy_stripe import PROCESSING_SECONDS, ChargeStatus
from dummy_stripe.objects import Intent

from .test_races import THREADS, at_once, before_the_next_write


def charge_of(dummy, intent_id: str) -> stripe.Charge:
    """The charge as Stripe shows it."""
    charge = dummy.intents.retrieve(intent_id, {"expand": ["latest_charge"]}).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge


def test_a_refund_gives_the_whole_charge_back(dummy):
    intent = dummy.paid(metadata={"orderId": "o1"})
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


def test_a_refunded_intent_stays_succeeded_and_its_charge_is_refunded(dummy):
    intent = dummy.paid()
    dummy.refund(intent.id)

    charge = charge_of(dummy, intent.id)
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (4599, 4599, 4599)
    assert (charge.refunded, charge.paid, charge.status) == (True, True, "succeeded")
    refunded = dummy.intents.retrieve(intent.id)
    assert (refunded.status, refunded.amount_received) == ("succeeded", 4599)


def test_the_ledger_shows_what_was_refunded(dummy):
    kept, returned = dummy.paid(), dummy.paid()
    refund = dummy.refund(returned.id, amount=1000, reason="duplicate", metadata={"orderId": "o1"})

    first, second = dummy.store.charges()
    assert (first.id, first.refunds, first.amount_refunded) == (kept.latest_charge, (), 0)
    assert (second.id, second.amount_refunded) == (returned.latest_charge, 1000)
    (recorded,) = second.refunds
    assert (recorded.id, recorded.amount) == (refund.id, 1000)
    assert (recorded.reason, recorded.metadata) == ("duplicate", {"orderId": "o1"})


def test_a_charge_can_be_refunded_in_parts_until_nothing_is_left(dummy, refused):
    intent = dummy.paid()
    assert dummy.refund(intent.id, amount=1000).amount == 1000
    assert (charge_of(dummy, intent.id).amount_refunded, charge_of(dummy, intent.id).refunded) == (1000, False)

    assert dummy.refund(intent.id).amount == 3599
    assert charge_of(dummy, intent.id).refunded is True
    assert refused(lambda: dummy.refund(intent.id)).code == "charge_already_refunded"


def test_a_refund_can_name_the_charge_instead_of_the_intent(dummy):
    intent = dummy.paid()
    refund = dummy.refunds.create({"charge": str(intent.latest_charge)})

    assert (refund.payment_intent, refund.charge) == (intent.id, intent.latest_charge)


def test_of_several_charges_the_paid_one_is_refunded(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.CardError):
        dummy.confirm(intent.id, "pm_card_visa_chargeDeclined")
    paid = dummy.confirm(intent.id)

    assert dummy.refund(intent.id).charge == paid.latest_charge
    assert [charge.amount_refunded for charge in dummy.store.charges()] == [0, 4599]


def test_a_payment_that_has_ended_its_processing_can_be_refunded(dummy, refused):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")
    assert "successful charge" in refused(lambda: dummy.refund(intent.id)).user_message

    dummy.clock.now += PROCESSING_SECONDS
    assert dummy.refund(intent.id).amount == 4599


def test_a_refund_can_be_retrieved_and_its_objects_be_whole(dummy):
    intent = dummy.paid()
    created = dummy.refund(intent.id, amount=1000)

    assert dummy.refunds.retrieve(created.id) == created
    whole = dummy.refunds.retrieve(created.id, {"expand": ["charge", "payment_intent"]})
    assert (whole.charge.amount_refunded, whole.payment_intent.status) == (1000, "succeeded")


def test_refunds_are_listed_newest_first_by_intent_or_charge(dummy):
    intent, other = dummy.paid(), dummy.paid()
    ids = [dummy.refund(intent.id, amount=100).id for _ in range(3)][::-1]
    last = dummy.refund(other.id).id

    assert [refund.id for refund in dummy.refunds.list().data] == [last, *ids]
    assert [refund.id for refund in dummy.refunds.list({"payment_intent": intent.id}).data] == ids
    assert [refund.id for refund in dummy.refunds.list({"charge": str(other.latest_charge)}).data] == [last]
    page = dummy.refunds.list({"payment_intent": intent.id, "limit": 2})
    assert [refund.id for refund in page.auto_paging_iter()] == ids


def test_a_charge_that_was_stored_before_there_were_refunds_has_none(memory_dummy):
    intent = memory_dummy.store.intent(memory_dummy.paid().id)

    assert Intent.from_json(intent.to_json().replace(',"refunds":[]', "")) == intent


# What is refused.


def failed_charge(dummy) -> dict[str, str]:
    with pytest.raises(stripe.CardError) as caught:
        dummy.confirm(dummy.create().id, "pm_card_visa_chargeDeclined")
    return {"charge": caught.value.error.charge}


UNPAID = {
    "new": lambda dummy: {"payment_intent": dummy.create().id},
    "cancelled": lambda dummy: {"payment_intent": dummy.intents.cancel(dummy.create().id).id},
    "processing": lambda dummy: {"payment_intent": dummy.confirm(dummy.create().id, "pm_dummy_processing").id},
    "a failed charge": failed_charge,
}


@pytest.mark.parametrize("state", UNPAID)
def test_nothing_is_given_back_where_nothing_was_charged(dummy, refused, state):
    error = refused(lambda: dummy.refunds.create(UNPAID[state](dummy)))

    (intent,) = dummy.store.intents()
    assert (error.http_status, error.code, error.param) == (400, None, None)
    assert error.user_message == f"This PaymentIntent ({intent.id}) does not have a successful charge to refund."


def test_a_failed_charge_beside_a_paid_one_is_not_refunded(memory_dummy, refused):
    charge = failed_charge(memory_dummy)
    (intent,) = memory_dummy.store.intents()
    memory_dummy.confirm(intent.id)

    assert "successful charge" in refused(lambda: memory_dummy.refunds.create(charge)).user_message
    assert sum(charge.amount_refunded for charge in memory_dummy.store.charges()) == 0


def test_a_charge_is_not_given_back_twice(dummy, refused):
    intent = dummy.paid()
    dummy.refund(intent.id)
    for again in ({"payment_intent": intent.id}, {"charge": intent.latest_charge, "amount": 1}):
        error = refused(lambda again=again: dummy.refunds.create(again))
        assert (error.http_status, error.code, error.param) == (400, "charge_already_refunded", None)
        assert error.user_message == f"Charge {intent.latest_charge} has already been refunded."


@pytest.mark.parametrize(
    ("currency", "already", "amount", "texts"),
    [
        ("usd", 1000, 3600, ("$36.00", "$35.99")),
        ("jpy", 1, 4599, ("¥4,599", "¥4,598")),
        ("eur", 1, 10**30, (None, "€45.98")),
    ],
)
def test_no_more_is_given_back_than_is_left(memory_dummy, refused, currency, already, amount, texts):
    intent = memory_dummy.paid(currency=currency)
    memory_dummy.refund(intent.id, amount=already)
    error = refused(lambda: memory_dummy.refund(intent.id, amount=amount))

    assert (error.http_status, error.code, error.param) == (400, None, "amount")
    asked, left = texts
    assert error.user_message.endswith(f") is greater than unrefunded amount on charge ({left})")
    assert asked is None or error.user_message.startswith(f"Refund amount ({asked})")


@pytest.mark.parametrize(("currency", "charged", "given_back"), [("kwd", 5120, 125), ("isk", 4000, 1050)])
def test_refund_of_a_fraction_of_the_currencys_step_is_refused(memory_dummy, refused, currency, charged, given_back):
    intent = memory_dummy.paid(amount=charged, currency=currency)

    error = refused(lambda: memory_dummy.refund(intent.id, amount=given_back))

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
        ("payment_intent=pi_1&expand[]=customer", 400, None, "expand", "This property cannot be expanded (customer)."),
        (f"payment_intent=pi_1&metadata[a]={'x' * 501}", 400, None, "metadata", "Metadata values can have up to 500"),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(dummy, form, status, code, param, message):
    sent = dummy.raw("post", "/v1/refunds", form)

    error = sent.body["error"]
    assert (sent.status, error["type"]) == (status, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["message"].startswith(message)


def test_an_unknown_refund_is_not_found(dummy, refused):
    error = refused(lambda: dummy.refunds.retrieve("re_none"))

    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "refund")
    assert error.user_message == "No such refund: 're_none'"
    assert refused(lambda: dummy.refunds.list({"starting_after": "re_none"})).param == "starting_after"


def test_a_refunded_intent_can_be_neither_paid_nor_cancelled(dummy, refused):
    intent = dummy.paid()
    dummy.refund(intent.id)

    for call in (dummy.confirm, dummy.intents.cancel):
        assert refused(lambda call=call: call(intent.id)).code == "payment_intent_unexpected_state"
    assert [charge.status for charge in dummy.store.charges()] == [ChargeStatus.SUCCEEDED]


# Repeats and rivals.


def test_a_repeated_refund_gives_back_once_and_answers_as_then(dummy):
    intent = dummy.paid()
    first = dummy.refund(intent.id, "refund-1", amount=1000)
    again = dummy.refund(intent.id, "refund-1", amount=1000)

    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert charge_of(dummy, intent.id).amount_refunded == 1000


def test_a_refunds_key_with_other_parameters_or_elsewhere_is_refused(dummy):
    intent = dummy.paid()
    dummy.refund(intent.id, "refund-1", amount=1000)
    for call in (lambda: dummy.refund(intent.id, "refund-1"), lambda: dummy.create("refund-1")):
        with pytest.raises(stripe.IdempotencyError):
            call()

    assert charge_of(dummy, intent.id).amount_refunded == 1000


def test_a_refusal_of_a_refund_is_replayed(dummy, refused):
    intent = dummy.create()
    refused(lambda: dummy.refund(intent.id, "refund-1"))
    dummy.confirm(intent.id)

    assert refused(lambda: dummy.refund(intent.id, "refund-1")).headers["idempotent-replayed"] == "true"
    assert charge_of(dummy, intent.id).amount_refunded == 0


def test_a_refund_that_another_overtook_does_not_give_back_again(dummy, refused):
    intent = dummy.paid()
    before_the_next_write(dummy, lambda: dummy.another().refund(intent.id))

    assert refused(lambda: dummy.refund(intent.id)).code == "charge_already_refunded"
    assert charge_of(dummy, intent.id).amount_refunded == 4599


def test_a_partial_refund_that_another_overtook_gives_back_what_is_left_or_nothing(dummy, refused):
    intent = dummy.paid()
    before_the_next_write(dummy, lambda: dummy.another().refund(intent.id, amount=2000))
    assert dummy.refund(intent.id, amount=2000).amount == 2000

    before_the_next_write(dummy, lambda: dummy.another().refund(intent.id, amount=500))
    assert refused(lambda: dummy.refund(intent.id, amount=599)).param == "amount"
    assert charge_of(dummy, intent.id).amount_refunded == 4500


def test_many_refunds_at_once_give_back_no_more_than_was_charged(memory_dummy):
    intent = memory_dummy.paid(amount=1000)
    outcomes = at_once(*[lambda: memory_dummy.refund(intent.id, amount=300)] * THREADS)

    assert sorted(outcomes) == ["None"] * (THREADS - 3) + ["succeeded"] * 3
    (charge,) = memory_dummy.store.charges()
    assert charge.amount_refunded == 900


def test_many_refunds_with_one_key_give_back_once(memory_dummy):
    intent = memory_dummy.paid()
    outcomes = at_once(*[lambda: memory_dummy.refund(intent.id, "refund-1", amount=1000)] * THREADS)

    assert set(outcomes) <= {"succeeded", "idempotency_key_in_use"}
    (charge,) = memory_dummy.store.charges()
    assert charge.amount_refunded == 1000
