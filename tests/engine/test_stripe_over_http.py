"""`STRIPE_BACKEND=api` over real HTTP, against localstripe, an independent server.

localstripe 1.15.10 implements an old version of Stripe's API. It does not support two requests of a payment: it
refuses `allowed_payment_method_types` *, and responds 500 to a `payment_method` in a confirmation *. A shim in front
of it translates them (`serve_shim`), so the gateway sends what Stripe expects. The other differences from Stripe, each
verified; tests below check those marked *, so that a version without them is noticed:

- It ignores idempotency keys *: a second creation makes a second intent, and a second refund refunds again.
- Error codes: only `card_declined`, without decline code, advice code, `param` or the intent. Its type is always
  `invalid_request_error`. All other errors are 400 or 404 without a code. A second cancellation and the cancellation
  of a paid intent * look like any other refusal, so the gateway reports `Unknown`. A confirmation of a closed intent
  is `Refused` instead of `Closed`. A refused payment method is not
  reported as the cause.
- Test cards: the only tokens are `pm_card_visa`, `pm_card_visa_chargeDeclined` (which it charges *) and
  `pm_card_chargeCustomerFail` (declined). 3-D Secure needs a PaymentMethod created from a card number.
- A declined intent cannot be confirmed again. It can be cancelled.
- It refuses `cancellation_reason`, a refund's `reason` and every unknown parameter. It stores and returns metadata.
- A refund may exceed the charge, and be repeated *. A refund of an unpaid intent responds 500.
- It does not check amounts and currencies, and accepts 1 cent, `zzz` and `sk_live_` keys, but no `pk_` keys.
- There are no headers `Request-Id`, `Idempotency-Key` or `Stripe-Version`. Bodies lack most fields, and
  `latest_charge` is always expanded.
- Webhooks: signed like Stripe's and sent after one second. It sends only `payment_intent.succeeded` and
  `payment_intent.payment_failed` of the events that the service handles (according to its source).
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import stripe

from dummy_stripe import sign
from order_payments.domain.errors import PaymentProviderError
from order_payments.domain.orders import Order
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus
from order_payments.runtime.clock import Deadline
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Cancelled, Declined, Open, Paid, RefusalCause, Refused, StripeRefund

from .stripe_servers import (
    FAR_DEADLINE,
    KEY,
    answer,
    claim,
    new_order,
    open_gateway,
    serve_script,
    serve_shim,
    start_localstripe,
)


@pytest.fixture(scope="module")
def localstripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_localstripe(tmp_path_factory.mktemp("localstripe") / "localstripe.log") as url:
        yield url


@pytest.fixture(scope="module")
def shimmed_localstripe(localstripe: str) -> Iterator[str]:
    with serve_shim(localstripe) as url:
        yield url


@pytest.fixture
def gateway(shimmed_localstripe: str) -> Iterator[StripeGateway]:
    with open_gateway(shimmed_localstripe) as gateway:
        yield gateway


@pytest.fixture
def localstripe_client(localstripe: str) -> stripe.StripeClient:
    """Return the SDK's own client, without the gateway's transport and the shim."""
    return stripe.StripeClient(KEY, base_addresses={"api": localstripe}, max_network_retries=0)


def create(gateway: StripeGateway, card: str = "pm_card_visa") -> Order:
    order = new_order()
    return claim(order, gateway.create_intent(order, deadline=FAR_DEADLINE), card)


def intent_id_of(order: Order) -> str:
    return order.require_in_flight().payment_intent_id


def call_error(call: Callable[[], object]) -> tuple[int | None, str | None]:
    """Return the HTTP status and code of the error that a call raises."""
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value.http_status, caught.value.code


def test_order_is_paid(gateway: StripeGateway) -> None:
    order = create(gateway)

    assert gateway.retrieve_state(order, intent_id_of(order), deadline=FAR_DEADLINE) == Open()
    assert gateway.confirm(order, deadline=FAR_DEADLINE) == Paid()
    assert gateway.retrieve_state(order, intent_id_of(order), deadline=FAR_DEADLINE) == Paid()


def test_intent_has_the_order_total_and_metadata(
    gateway: StripeGateway, localstripe_client: stripe.StripeClient
) -> None:
    order = create(gateway)
    intent = localstripe_client.v1.payment_intents.retrieve(intent_id_of(order))

    assert (intent.amount, intent.currency) == (9198, "usd")
    assert (intent.metadata["orderId"], intent.metadata["buyerId"]) == (order.order_id, "alice")


def test_declined_order_is_fenced(gateway: StripeGateway) -> None:
    order = create(gateway, "pm_card_chargeCustomerFail")

    outcome = gateway.confirm(order, deadline=FAR_DEADLINE)
    assert isinstance(outcome, Declined)
    assert (outcome.reason.code, outcome.reason.message) == ("card_declined", "Your card was declined.")
    assert gateway.cancel(order, intent_id_of(order), deadline=FAR_DEADLINE) == Cancelled(outcome.reason)


def test_required_3d_secure_is_a_decline(gateway: StripeGateway, localstripe_client: stripe.StripeClient) -> None:
    card: Any = {"number": "4000002760003184", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    wants_3d_secure = localstripe_client.v1.payment_methods.create({"type": "card", "card": card})
    order = create(gateway, wants_3d_secure.id)

    outcome = gateway.confirm(order, deadline=FAR_DEADLINE)
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == "authentication_required"


def test_open_intent_is_cancelled(gateway: StripeGateway) -> None:
    order = create(gateway)

    assert gateway.cancel(order, intent_id_of(order), deadline=FAR_DEADLINE) == Cancelled()
    assert gateway.retrieve_state(order, intent_id_of(order), deadline=FAR_DEADLINE) == Cancelled()


def test_unknown_payment_method_is_refused(gateway: StripeGateway) -> None:
    assert isinstance(gateway.confirm(create(gateway, "pm_unknown"), deadline=FAR_DEADLINE), Refused)


def test_payment_is_refunded(gateway: StripeGateway, localstripe_client: stripe.StripeClient) -> None:
    order = create(gateway)
    gateway.confirm(order, deadline=FAR_DEADLINE)

    now = order.created_at
    late = Refund(
        "ref_1", RefundKind.LATE_PAYMENT, RefundStatus.OWED, intent_id_of(order), 9198, created_at=now, updated_at=now
    )
    outcome = gateway.create_refund(order, late, deadline=FAR_DEADLINE)
    assert isinstance(outcome, StripeRefund)
    refund = localstripe_client.v1.refunds.retrieve(outcome.stripe_refund_id)
    assert (refund.amount, refund.payment_intent) == (9198, intent_id_of(order))


def test_refused_api_key_creates_and_charges_nothing(gateway: StripeGateway, shimmed_localstripe: str) -> None:
    order = create(gateway)
    with open_gateway(shimmed_localstripe, "pk_test_publishable") as gateway_with_bad_key:
        with pytest.raises(PaymentProviderError):
            gateway_with_bad_key.create_intent(order, deadline=FAR_DEADLINE)
        assert gateway_with_bad_key.confirm(order, deadline=FAR_DEADLINE) == Refused(RefusalCause.ACCESS)

    assert gateway.retrieve_state(order, intent_id_of(order), deadline=FAR_DEADLINE) == Open()


def test_dummy_signs_events_like_localstripe(gateway: StripeGateway, localstripe: str) -> None:
    with serve_script() as webhook:
        webhook.steps = [answer({})]
        settings = {"url": webhook.url, "secret": "whsec_1", "events[]": "payment_intent.succeeded"}
        requests.post(f"{localstripe}/_config/webhooks/ours", data=settings, timeout=10).raise_for_status()
        gateway.confirm(create(gateway), deadline=FAR_DEADLINE)
        deadline = Deadline.after(20)
        while not webhook.received and deadline.remaining() > 0:
            time.sleep(0.02)

    delivered = webhook.received[0]
    header, payload = delivered.headers["Stripe-Signature"], delivered.body.encode()
    event = stripe.Webhook.construct_event(payload, header, "whsec_1")
    assert event.type == "payment_intent.succeeded"
    assert sign(payload, "whsec_1", event.created) == header


# The limits of localstripe. If one of these tests fails, update the docstring above, and check if the shim is needed.


def open_intent(localstripe_client: stripe.StripeClient, key: str | None = None, **params: Any) -> str:
    options: Any = {"idempotency_key": key} if key else {}
    asked: Any = {"amount": 500, "currency": "usd", **params}
    return localstripe_client.v1.payment_intents.create(asked, options).id


def paid_intent(localstripe_client: stripe.StripeClient, card: str = "pm_card_visa") -> stripe.PaymentIntent:
    return localstripe_client.v1.payment_intents.confirm(open_intent(localstripe_client, payment_method=card))


def test_localstripe_still_refuses_allowed_payment_method_types(localstripe_client: stripe.StripeClient) -> None:
    assert call_error(lambda: open_intent(localstripe_client, allowed_payment_method_types=["card"])) == (400, None)


def test_localstripe_still_fails_on_payment_method_in_confirmation(localstripe_client: stripe.StripeClient) -> None:
    intent = open_intent(localstripe_client)

    assert call_error(
        lambda: localstripe_client.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    ) == (500, None)


def test_localstripe_still_ignores_idempotency_keys(localstripe_client: stripe.StripeClient) -> None:
    assert open_intent(localstripe_client, "create-1") != open_intent(localstripe_client, "create-1")


def test_localstripe_still_refuses_cancellation_without_a_code(localstripe_client: stripe.StripeClient) -> None:
    intent = paid_intent(localstripe_client)

    assert call_error(lambda: localstripe_client.v1.payment_intents.cancel(intent.id)) == (400, None)


def test_localstripe_still_charges_declined_test_card(localstripe_client: stripe.StripeClient) -> None:
    assert paid_intent(localstripe_client, "pm_card_visa_chargeDeclined").status == "succeeded"


def test_localstripe_still_refunds_twice(localstripe_client: stripe.StripeClient) -> None:
    intent = paid_intent(localstripe_client)
    refunds = [localstripe_client.v1.refunds.create({"payment_intent": intent.id}) for _ in range(2)]

    assert [(refund.status, refund.amount) for refund in refunds] == [("succeeded", 500)] * 2
