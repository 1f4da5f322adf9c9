"""Idempotency keys: https://docs.stripe.com/api/idempotent_requests"""

import json
from dataclasses import replace

import pytest
import stripe

from dummy_stripe import CLAIM_SECONDS, IDEMPOTENCY_SECONDS
from dummy_stripe.stores import ClaimLost, IdempotencyRecord


def test_repeated_creation_returns_the_same_intent(dummy):
    first = dummy.create("order-1")
    again = dummy.create("order-1")

    assert again.id == first.id
    assert len(dummy.store.intents()) == 1


def test_replayed_response_names_its_original_request(dummy):
    first = dummy.create("order-1").last_response
    again = dummy.create("order-1").last_response

    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.request_id
    assert again.request_id != first.request_id
    assert "idempotent-replayed" not in first.headers
    assert again.body == first.body


def test_repeated_confirmation_charges_once(dummy):
    intent = dummy.create()
    dummy.confirm(intent.id, key="attempt")

    assert dummy.confirm(intent.id, key="attempt").status == "succeeded"
    assert len(dummy.store.charges()) == 1


def test_unexpected_state_error_is_replayed(dummy, error_of):
    intent = dummy.confirm(dummy.create().id, "pm_dummy_processing")
    error_of(lambda: dummy.intents.cancel(intent.id, {}, {"idempotency_key": "fence"}))

    error = error_of(lambda: dummy.intents.cancel(intent.id, {}, {"idempotency_key": "fence"}))
    assert error.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("token", "error", "replayed"),
    [
        ("pm_card_visa_chargeDeclined", stripe.CardError, {"idempotent-replayed": "true"}),
        ("pm_dummy_api_error", stripe.APIError, {"idempotent-replayed": "true", "stripe-should-retry": "false"}),
        ("pm_dummy_rate_limited", stripe.RateLimitError, {}),
    ],
)
def test_error_is_replayed_unless_it_was_a_rate_limit(dummy, token, error, replayed):
    intent = dummy.create()
    for _ in range(2):
        with pytest.raises(error) as caught:
            dummy.confirm(intent.id, token, key="attempt")

    assert caught.value.headers.items() >= replayed.items()
    assert ("idempotent-replayed" in caught.value.headers) == bool(replayed)
    assert len(dummy.store.charges()) == (1 if error is stripe.CardError else 0)


def test_invalid_request_does_not_use_up_its_idempotency_key(dummy, error_of):
    assert error_of(lambda: dummy.create("order-1", amount=1)).code == "amount_too_small"

    assert dummy.create("order-1").amount == 4599


def test_invalid_api_key_does_not_use_up_the_idempotency_key(dummy):
    with pytest.raises(stripe.AuthenticationError):
        dummy.client_with("sk_live_123").v1.payment_intents.create(
            {"amount": 4599, "currency": "usd", "payment_method_types": ["card"]}, {"idempotency_key": "order-1"}
        )

    assert "idempotent-replayed" not in dummy.create("order-1").last_response.headers


def test_key_reused_with_other_parameters_is_refused(dummy):
    dummy.create("order-1")
    with pytest.raises(stripe.IdempotencyError) as caught:
        dummy.create("order-1", amount=5000)

    assert caught.value.http_status == 400
    assert caught.value.error.type == "idempotency_error"
    assert "same parameters" in caught.value.user_message


def test_key_reused_on_another_endpoint_is_refused(dummy):
    intent = dummy.create("order-1")
    with pytest.raises(stripe.IdempotencyError) as caught:
        dummy.confirm(intent.id, key="order-1")

    assert f"('/v1/payment_intents/{intent.id}/confirm' vs '/v1/payment_intents')" in caught.value.user_message
    assert dummy.store.charges() == []


def test_order_of_the_parameters_does_not_matter(dummy):
    first = dummy.raw("post", "/v1/payment_intents", "amount=4599&currency=usd", Idempotency_Key="k")
    again = dummy.raw("post", "/v1/payment_intents", "currency=usd&amount=4599", Idempotency_Key="k")

    assert again.body["id"] == first.body["id"]


def test_key_expires_after_a_day(dummy):
    first = dummy.create("order-1")
    dummy.clock.now += IDEMPOTENCY_SECONDS + 2

    assert dummy.create("order-1", amount=5000).id != first.id


def crash_after_claim(dummy, method, path, form, key):
    """Let a request crash right after it claimed its key, and return the claim."""
    claims = []

    def die(record, _now):
        claims.append(record)
        raise KeyboardInterrupt

    claim = dummy.store.claim
    dummy.store.claim = die
    with pytest.raises(KeyboardInterrupt):
        dummy.raw(method, path, form, Idempotency_Key=key)
    dummy.store.claim = claim
    assert claim(claims[0], dummy.clock()) is None
    return claims[0]


CREATE = ("post", "/v1/payment_intents", "amount=4599&currency=usd", "order-1")


def test_key_of_a_running_request_is_in_use(dummy):
    crash_after_claim(dummy, *CREATE)
    response = dummy.raw(*CREATE[:3], Idempotency_Key="order-1")

    assert response.status == 409
    assert (response.body["error"]["code"], response.body["error"]["type"]) == (
        "idempotency_key_in_use",
        "invalid_request_error",
    )


def test_key_of_a_crashed_request_can_be_claimed_after_its_expiry(dummy):
    crash_after_claim(dummy, *CREATE)
    dummy.clock.now += CLAIM_SECONDS + 1

    assert dummy.raw(*CREATE[:3], Idempotency_Key="order-1").status == 200


def test_key_of_a_crashed_request_stays_bound_to_its_parameters(dummy):
    crash_after_claim(dummy, *CREATE)
    dummy.clock.now += CLAIM_SECONDS + 1

    response = dummy.raw("post", "/v1/payment_intents", "amount=5000&currency=usd", Idempotency_Key="order-1")
    assert response.body["error"]["type"] == "idempotency_error"


def test_confirmation_retried_after_a_crash_does_not_charge_again(dummy):
    intent = dummy.create()
    path = f"/v1/payment_intents/{intent.id}/confirm"
    crash_after_claim(dummy, "post", path, "payment_method=pm_card_visa", "attempt")
    dummy.confirm(intent.id)
    dummy.clock.now += CLAIM_SECONDS + 1

    response = dummy.raw("post", path, "payment_method=pm_card_visa", Idempotency_Key="attempt")
    assert response.body["error"]["code"] == "payment_intent_unexpected_state"
    assert response.body["error"]["payment_intent"]["status"] == "succeeded"
    assert len(dummy.store.charges()) == 1


def test_request_with_an_expired_claim_cannot_write(dummy):
    dummy.create()
    stale = crash_after_claim(dummy, *CREATE)
    dummy.clock.now += CLAIM_SECONDS + 1
    dummy.raw(*CREATE[:3], Idempotency_Key="order-1")

    intent = dummy.store.intents()[0]
    with pytest.raises(ClaimLost):
        dummy.store.write(replace(intent, version=intent.version + 1), stale)
    with pytest.raises(ClaimLost):
        dummy.store.finish(stale)
    dummy.store.release(stale)
    assert dummy.raw(*CREATE[:3], Idempotency_Key="order-1").headers["idempotent-replayed"] == "true"


def test_request_that_loses_its_claim_fails_with_key_in_use(dummy, error_of):
    write = dummy.store.write

    def lose_the_claim(intent, record: IdempotencyRecord):
        dummy.store.release(record)
        return write(intent, record)

    dummy.store.write = lose_the_claim
    error = error_of(lambda: dummy.create("order-1"))
    assert (error.http_status, error.error.code) == (409, "idempotency_key_in_use")
    assert dummy.store.intents() == []


def test_stored_response_has_only_fields_of_the_previous_release(dynamodb_dummy, dynamodb_client):
    dynamodb_dummy.create("order-1")

    table = dynamodb_dummy.store._table
    items = dynamodb_client.scan(TableName=table)["Items"]
    (answer,) = [json.loads(item["answer"]["S"]) for item in items if "answer" in item]
    assert answer.keys() <= {"status", "body", "request_id", "should_retry", "reply"}
