"""The lifecycle of a PaymentIntent on both stores."""

from typing import Any

import pytest
import stripe

from dummy_stripe import CARDS, PAYMENT_METHODS, PROCESSING_SECONDS

from .test_wire_form import validate

GOOD_CARDS = [card.token for card in CARDS if not (card.decline or card.requires_action or card.fault)]
DECLINED_TOKENS = [token for token, method in PAYMENT_METHODS.items() if method.decline]


def test_new_intent_requires_a_payment_method(dummy):
    intent = dummy.create(metadata={"orderId": "o1", "buyerId": "b1"}, description="Order o1")

    assert intent.status == "requires_payment_method"
    assert intent.id.startswith("pi_")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert (intent.amount, intent.currency, intent.amount_received) == (4599, "usd", 0)
    assert (intent.metadata["orderId"], intent.metadata["buyerId"]) == ("o1", "b1")
    assert (intent.description, intent.livemode, intent.latest_charge) == ("Order o1", False, None)


def test_intent_created_with_a_payment_method_requires_confirmation(dummy):
    intent = dummy.create(payment_method="pm_card_visa")

    assert intent.status == "requires_confirmation"
    assert dummy.intents.confirm(intent.id).status == "succeeded"


@pytest.mark.parametrize("token", GOOD_CARDS)
def test_good_card_pays_the_intent(memory_dummy, token):
    intent = memory_dummy.confirm(memory_dummy.create().id, token)

    assert intent.status == "succeeded"
    assert intent.amount_received == 4599


def test_paid_intent_has_one_successful_charge(dummy):
    paid = dummy.confirm(dummy.create(metadata={"orderId": "o1"}).id)

    (charge,) = dummy.store.charges()
    assert charge.id == paid.latest_charge
    assert charge.id.startswith("ch_")
    assert (charge.payment_intent, charge.amount, charge.currency) == (paid.id, 4599, "usd")
    assert (charge.status, charge.metadata) == ("succeeded", {"orderId": "o1"})


def test_intent_can_be_created_and_confirmed_in_one_request(dummy):
    intent = dummy.create(payment_method="pm_card_visa", confirm=True)

    assert intent.status == "succeeded"
    assert dummy.intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize("token", DECLINED_TOKENS)
def test_bad_card_is_declined_in_stripes_form(memory_dummy, token):
    decline = PAYMENT_METHODS[token].decline
    intent = memory_dummy.create()
    with pytest.raises(stripe.CardError) as caught:
        memory_dummy.confirm(intent.id, token)

    error = caught.value
    validate("error", memory_dummy.http.exchanges[-1].body)
    assert (error.http_status, error.error.type) == (402, "card_error")
    assert (error.code, error.error.decline_code, error.error.advice_code, error.user_message, error.param) == decline
    assert error.error.payment_intent.status == "requires_payment_method"
    assert error.error.payment_method.id == token
    assert error.error.doc_url == f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}"
    assert error.request_id in error.error.request_log_url
    (charge,) = memory_dummy.store.charges()
    assert (charge.id, charge.status) == (error.error.charge, "failed")


def test_declined_intent_has_the_error_and_requires_a_payment_method(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.CardError):
        dummy.confirm(intent.id, "pm_card_visa_chargeDeclinedInsufficientFunds")

    declined = dummy.intents.retrieve(intent.id)
    assert (declined.status, declined.payment_method) == ("requires_payment_method", None)
    assert declined.last_payment_error.decline_code == "insufficient_funds"
    assert declined.last_payment_error.charge == declined.latest_charge


def test_declined_intent_can_be_paid_with_another_card(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.CardError):
        dummy.confirm(intent.id, "pm_card_visa_chargeDeclined")

    paid = dummy.confirm(intent.id)
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert [charge.status for charge in dummy.store.charges()] == ["failed", "succeeded"]


def test_declined_intent_can_be_canceled(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.CardError):
        dummy.confirm(intent.id, "pm_card_visa_chargeDeclined")

    assert dummy.intents.cancel(intent.id).status == "canceled"


def test_intent_declined_at_its_creation_exists(dummy):
    with pytest.raises(stripe.CardError) as caught:
        dummy.create(payment_method="pm_card_visa_chargeDeclined", confirm=True)

    assert dummy.intents.retrieve(caught.value.error.payment_intent.id).status == "requires_payment_method"


@pytest.mark.parametrize("token", ["pm_card_authenticationRequired", "pm_card_visa_authenticationRequired"])
def test_card_that_requires_authentication_requires_action(dummy, token):
    intent = dummy.confirm(dummy.create().id, token)

    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert dummy.intents.cancel(intent.id).status == "canceled"
    assert dummy.store.charges() == []


def test_action_is_a_redirect_if_there_is_a_return_url(memory_dummy):
    intent = memory_dummy.create()
    intent = memory_dummy.confirm(intent.id, "pm_card_authenticationRequired", return_url="https://shop.example/back")

    assert intent.next_action.redirect_to_url.return_url == "https://shop.example/back"


@pytest.mark.parametrize(
    ("option", "decline_code", "message"),
    [
        ("off_session", "authentication_required", "Your card was declined. This transaction requires authentication."),
        (
            "error_on_requires_action",
            "authentication_not_handled",
            "This payment required an authentication action to complete, but `error_on_requires_action` was set. When",
        ),
    ],
)
def test_authentication_that_is_not_possible_is_a_decline(memory_dummy, option, decline_code, message):
    intent = memory_dummy.create()
    options: dict[str, Any] = {option: True}
    with pytest.raises(stripe.CardError) as caught:
        memory_dummy.confirm(intent.id, "pm_card_authenticationRequired", **options)

    assert (caught.value.code, caught.value.error.decline_code) == ("authentication_required", decline_code)
    assert caught.value.user_message.startswith(message)
    assert caught.value.error.payment_intent.status == "requires_payment_method"


def test_canceled_intent_has_its_time_and_reason(dummy):
    intent = dummy.intents.cancel(dummy.create().id, {"cancellation_reason": "abandoned"})

    assert (intent.status, intent.cancellation_reason) == ("canceled", "abandoned")
    assert intent.canceled_at == int(dummy.clock.now)


def test_processing_payment_succeeds_after_its_delay(dummy):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")
    assert intent.status == "processing"
    assert intent.amount_received == 0
    assert [charge.status for charge in dummy.store.charges()] == ["pending"]

    dummy.clock.now += PROCESSING_SECONDS - 1
    assert dummy.intents.retrieve(intent.id).status == "processing"
    dummy.clock.now += 1
    assert dummy.intents.retrieve(intent.id).status == "succeeded"
    assert [charge.status for charge in dummy.store.charges()] == ["succeeded"]


def test_processing_payment_cannot_be_canceled_or_confirmed(dummy, error_of):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")

    for call in (dummy.intents.cancel, dummy.confirm):
        error = error_of(lambda call=call: call(intent.id))
        assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
        assert error.error.payment_intent.status == "processing"


def test_cancellation_is_refused_once_processing_has_succeeded(dummy, error_of):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")
    dummy.clock.now += PROCESSING_SECONDS

    error = error_of(lambda: dummy.intents.cancel(intent.id))
    assert error.error.payment_intent.status == "succeeded"


@pytest.mark.parametrize("end", ["paid", "canceled"])
def test_intent_in_a_final_state_does_not_change(dummy, error_of, end):
    intent = dummy.create()
    final = dummy.confirm(intent.id) if end == "paid" else dummy.intents.cancel(intent.id)

    for call in (dummy.intents.cancel, dummy.confirm):
        error = error_of(lambda call=call: call(intent.id))
        assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
        assert error.error.payment_intent.status == final.status
    assert len(dummy.store.charges()) == (1 if end == "paid" else 0)


def test_latest_charge_is_an_id_unless_it_is_expanded(dummy):
    intent = dummy.confirm(dummy.create().id, expand=["latest_charge"])

    assert intent.latest_charge.payment_intent == intent.id
    assert intent.latest_charge.status == "succeeded"
    assert dummy.intents.retrieve(intent.id).latest_charge == intent.latest_charge.id
    expanded = dummy.intents.retrieve(intent.id, {"expand": ["latest_charge", "payment_method"]})
    assert expanded.latest_charge.amount == 4599
    assert expanded.payment_method.card.last4 == "4242"


def test_list_is_newest_first_and_continues_after_a_cursor(dummy):
    ids = [dummy.create().id for _ in range(5)][::-1]

    first = dummy.intents.list({"limit": 2})
    assert ([intent.id for intent in first.data], first.has_more) == (ids[:2], True)
    second = dummy.intents.list({"limit": 2, "starting_after": ids[1]})
    assert ([intent.id for intent in second.data], second.has_more) == (ids[2:4], True)
    last = dummy.intents.list({"limit": 2, "starting_after": ids[3]})
    assert ([intent.id for intent in last.data], last.has_more) == (ids[4:], False)
    assert [intent.id for intent in dummy.intents.list({"limit": 2}).auto_paging_iter()] == ids


def test_list_returns_the_page_before_a_cursor(dummy):
    ids = [dummy.create().id for _ in range(4)][::-1]

    page = dummy.intents.list({"limit": 2, "ending_before": ids[3]})
    assert ([intent.id for intent in page.data], page.has_more) == (ids[1:3], True)
    page = dummy.intents.list({"limit": 2, "ending_before": ids[1]})
    assert ([intent.id for intent in page.data], page.has_more) == (ids[:1], False)


def test_processes_share_the_store(dummy):
    intent = dummy.create()
    dummy.in_another_process().confirm(intent.id)

    assert dummy.intents.retrieve(intent.id).status == "succeeded"
