"""The fault tokens, which simulate failures that Stripe's test mode does not offer."""

import pytest
import stripe

from dummy_stripe import MemoryStore, StoreUnavailable
from dummy_stripe.responses import SLOW_SECONDS

from .conftest import KEY, dummy_on


def test_timeout_after_charge_has_charged_the_card(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.APIConnectionError) as caught:
        dummy.confirm(intent.id, "pm_dummy_timeout_after_charge")

    assert caught.value.should_retry is True
    assert dummy.intents.retrieve(intent.id).status == "succeeded"
    assert [charge.status for charge in dummy.store.charges()] == ["succeeded"]


def test_retries_after_a_timed_out_charge_time_out_and_charge_once(dummy):
    intent = dummy.create()
    dummy.http.requests = 0
    with pytest.raises(stripe.APIConnectionError):
        dummy.client_with(KEY, retries=3).v1.payment_intents.confirm(
            intent.id, {"payment_method": "pm_dummy_timeout_after_charge"}
        )

    assert dummy.http.requests == 4
    assert len(dummy.store.charges()) == 1


def test_repeated_confirmation_after_a_timed_out_charge_times_out_too(dummy):
    intent = dummy.create(payment_method="pm_dummy_timeout_after_charge")
    for confirm in (dummy.intents.confirm, dummy.intents.confirm):
        with pytest.raises(stripe.APIConnectionError):
            confirm(intent.id)

    assert len(dummy.store.charges()) == 1


def test_payment_timed_out_after_its_charge_cannot_be_canceled(dummy, error_of):
    intent = dummy.create()
    with pytest.raises(stripe.APIConnectionError):
        dummy.confirm(intent.id, "pm_dummy_timeout_after_charge")

    assert error_of(lambda: dummy.intents.cancel(intent.id)).code == "payment_intent_unexpected_state"


def test_timeout_before_charge_changes_nothing(dummy):
    intent = dummy.create()
    for _ in range(2):
        with pytest.raises(stripe.APIConnectionError) as caught:
            dummy.confirm(intent.id, "pm_dummy_timeout_before_charge", key="attempt")

    assert caught.value.should_retry is True
    assert dummy.intents.retrieve(intent.id).status == "requires_payment_method"
    assert dummy.store.charges() == []
    assert dummy.intents.cancel(intent.id).status == "canceled"


def test_timeouts_do_not_wait(dummy):
    for token in ("pm_dummy_timeout_before_charge", "pm_dummy_timeout_after_charge"):
        with pytest.raises(stripe.APIConnectionError):
            dummy.create(payment_method=token, confirm=True)

    assert dummy.clock.slept == []


def test_repeated_api_error_charges_nothing(dummy):
    intent = dummy.create()
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            dummy.confirm(intent.id, "pm_dummy_api_error")
        assert caught.value.http_status == 500
        assert caught.value.error.type == "api_error"

    assert dummy.store.charges() == []
    assert dummy.intents.retrieve(intent.id).status == "requires_payment_method"


def test_rate_limited_request_charges_nothing(dummy):
    intent = dummy.create()
    with pytest.raises(stripe.RateLimitError) as caught:
        dummy.confirm(intent.id, "pm_dummy_rate_limited")

    assert (caught.value.http_status, caught.value.error.code) == (429, "rate_limit")
    assert caught.value.error.type == "invalid_request_error"
    assert dummy.store.charges() == []


def test_slow_payment_succeeds_after_its_delay(dummy):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_slow")

    assert intent.status == "succeeded"
    assert dummy.clock.slept == [SLOW_SECONDS]


def test_slow_payment_is_charged_but_times_out_on_a_short_timeout(dummy):
    intent = dummy.create()
    dummy.http.timeout = 1.5
    with pytest.raises(stripe.APIConnectionError) as caught:
        dummy.confirm(intent.id, "pm_dummy_slow")

    assert caught.value.should_retry is True
    assert dummy.clock.slept == [1.5]
    assert dummy.intents.retrieve(intent.id).status == "succeeded"


def test_retry_of_a_slow_payment_returns_the_saved_response_at_once(dummy):
    intent = dummy.create()
    dummy.http.timeout = 1.5
    retrying = dummy.client_with(KEY, retries=1).v1.payment_intents

    assert retrying.confirm(intent.id, {"payment_method": "pm_dummy_slow"}).status == "succeeded"
    assert dummy.clock.slept == [1.5]
    assert len(dummy.store.charges()) == 1


def test_unavailable_store_is_a_connection_error():
    class Unreachable(MemoryStore):
        def intent(self, intent_id):  # noqa: ARG002 - the store's signature
            raise StoreUnavailable

    with pytest.raises(stripe.APIConnectionError) as caught:
        dummy_on(Unreachable()).intents.retrieve("pi_1")

    assert caught.value.should_retry is True
