"""`STRIPE_BACKEND=api` over real HTTP, against a server that others wrote: localstripe.

localstripe 1.15.10 is Stripe's API of some years ago. It refuses the two calls that a payment is made of: it knows no
`allowed_payment_method_types` *, and answers 500 to a `payment_method` in a confirmation *. So a shim stands before it
(`shim_before`), and the gateway asks for what Stripe wants. What else it cannot do, each tried; those marked * are
tried here, so that a version which has learned something is noticed:

- Idempotency keys mean nothing to it *: a second creation makes a second intent, a second refund gives back again.
- Error codes: only `card_declined`, without decline code, advice code, `param` or the intent, and its type is always
  `invalid_request_error`. Everything else is 400 or 404 without a code. So a second cancellation or the
  cancellation of a paid intent * is not told from any other refusal, and is `Unknown` where Stripe would let it be
  found; confirming a closed intent is `Refused` and not `Closed`; an unknown payment method is not at fault.
- Test cards: of the tokens only `pm_card_visa`, `pm_card_visa_chargeDeclined` (which it charges all the same *) and
  `pm_card_chargeCustomerFail` (declined). 3-D Secure wants a PaymentMethod made from a card's number.
- A declined intent cannot be confirmed again; it can be cancelled.
- `cancellation_reason` and a refund's `reason` are refused, as is every parameter that it does not know. Metadata it
  takes, keeps and answers.
- Refunds: more than was charged, and again *. One of an unpaid intent ends in 500.
- Amounts, currencies and the kind of key are not checked: 1 cent, `zzz` and `sk_live_` will do, `pk_` will not.
- No headers `Request-Id`, `Idempotency-Key` or `Stripe-Version`. Bodies lack most fields, and `latest_charge` is
  always the whole charge.
- Webhooks: signed as Stripe signs, sent after one second; of our events only `payment_intent.succeeded` and
  `payment_intent.payment_failed` (by its source).
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
from order_payments.runtime.clock import Deadline
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Cancelled, Declined, Open, Paid, Refunded, RefusalCause, Refused

from .stripe_servers import (
    KEY,
    PLENTY,
    an_order,
    answer,
    claimed,
    gateway_to,
    running_localstripe,
    scripted_stripe,
    shim_before,
)


@pytest.fixture(scope="module")
def localstripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_localstripe(tmp_path_factory.mktemp("localstripe") / "localstripe.log") as url:
        yield url


@pytest.fixture(scope="module")
def shimmed_localstripe(localstripe: str) -> Iterator[str]:
    with shim_before(localstripe) as url:
        yield url


@pytest.fixture
def gateway(shimmed_localstripe: str) -> Iterator[StripeGateway]:
    with gateway_to(shimmed_localstripe) as gateway:
        yield gateway


@pytest.fixture
def bare(localstripe: str) -> stripe.StripeClient:
    """The SDK with nothing of ours below it, and no shim."""
    return stripe.StripeClient(KEY, base_addresses={"api": localstripe}, max_network_retries=0)


def created(gateway: StripeGateway, card: str = "pm_card_visa") -> Order:
    order = an_order()
    return claimed(order, gateway.create_intent(order, deadline=PLENTY), card)


def intent_of(order: Order) -> str:
    return order.require_in_flight().payment_intent_id


def refused(call: Callable[[], object]) -> tuple[int | None, str | None]:
    """The status and the code of the error in which a call ends."""
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value.http_status, caught.value.code


def test_an_order_is_paid(gateway: StripeGateway) -> None:
    order = created(gateway)

    assert gateway.state_of(order, intent_of(order), deadline=PLENTY) == Open()
    assert gateway.confirm(order, deadline=PLENTY) == Paid()
    assert gateway.state_of(order, intent_of(order), deadline=PLENTY) == Paid()


def test_what_the_order_is_about_arrives(gateway: StripeGateway, bare: stripe.StripeClient) -> None:
    order = created(gateway)
    intent = bare.v1.payment_intents.retrieve(intent_of(order))

    assert (intent.amount, intent.currency) == (9198, "usd")
    assert (intent.metadata["orderId"], intent.metadata["buyerId"]) == (order.order_id, "alice")


def test_a_declined_order_is_fenced(gateway: StripeGateway) -> None:
    order = created(gateway, "pm_card_chargeCustomerFail")

    outcome = gateway.confirm(order, deadline=PLENTY)
    assert isinstance(outcome, Declined)
    assert (outcome.reason.code, outcome.reason.message) == ("card_declined", "Your card was declined.")
    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Cancelled(outcome.reason)


def test_an_action_that_we_do_not_offer_is_a_decline(gateway: StripeGateway, bare: stripe.StripeClient) -> None:
    card: Any = {"number": "4000002760003184", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    wants_3d_secure = bare.v1.payment_methods.create({"type": "card", "card": card})
    order = created(gateway, wants_3d_secure.id)

    outcome = gateway.confirm(order, deadline=PLENTY)
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == "authentication_required"


def test_an_open_intent_is_cancelled(gateway: StripeGateway) -> None:
    order = created(gateway)

    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Cancelled()
    assert gateway.state_of(order, intent_of(order), deadline=PLENTY) == Cancelled()


def test_an_unknown_payment_method_is_refused(gateway: StripeGateway) -> None:
    assert isinstance(gateway.confirm(created(gateway, "pm_unknown"), deadline=PLENTY), Refused)


def test_a_payment_is_given_back(gateway: StripeGateway, bare: stripe.StripeClient) -> None:
    order = created(gateway)
    gateway.confirm(order, deadline=PLENTY)

    outcome = gateway.refund(order, intent_of(order), deadline=PLENTY)
    assert isinstance(outcome, Refunded)
    refund = bare.v1.refunds.retrieve(outcome.refund_id)
    assert (refund.amount, refund.payment_intent) == (9198, intent_of(order))


def test_a_key_that_is_refused_creates_and_charges_nothing(gateway: StripeGateway, shimmed_localstripe: str) -> None:
    order = created(gateway)
    with gateway_to(shimmed_localstripe, "pk_test_publishable") as refused:
        with pytest.raises(PaymentProviderError):
            refused.create_intent(order, deadline=PLENTY)
        assert refused.confirm(order, deadline=PLENTY) == Refused(RefusalCause.ACCESS)

    assert gateway.state_of(order, intent_of(order), deadline=PLENTY) == Open()


def test_the_dummy_signs_an_event_as_localstripe_does(gateway: StripeGateway, localstripe: str) -> None:
    with scripted_stripe() as webhook:
        webhook.steps = [answer({})]
        settings = {"url": webhook.url, "secret": "whsec_1", "events[]": "payment_intent.succeeded"}
        requests.post(f"{localstripe}/_config/webhooks/ours", data=settings, timeout=10).raise_for_status()
        gateway.confirm(created(gateway), deadline=PLENTY)
        deadline = Deadline.after(20)
        while not webhook.received and deadline.remaining() > 0:
            time.sleep(0.02)

    delivered = webhook.received[0]
    header, payload = delivered.headers["Stripe-Signature"], delivered.body.encode()
    event = stripe.Webhook.construct_event(payload, header, "whsec_1")
    assert event.type == "payment_intent.succeeded"
    assert sign(payload, "whsec_1", event.created) == header


# What localstripe cannot do. Where one of these fails, say so above, and see whether the shim can go.


def open_intent(bare: stripe.StripeClient, key: str | None = None, **params: Any) -> str:
    options: Any = {"idempotency_key": key} if key else {}
    asked: Any = {"amount": 500, "currency": "usd", **params}
    return bare.v1.payment_intents.create(asked, options).id


def paid_intent(bare: stripe.StripeClient, card: str = "pm_card_visa") -> stripe.PaymentIntent:
    return bare.v1.payment_intents.confirm(open_intent(bare, payment_method=card))


def test_localstripe_still_does_not_accept_allowed_payment_method_types(bare: stripe.StripeClient) -> None:
    assert refused(lambda: open_intent(bare, allowed_payment_method_types=["card"])) == (400, None)


def test_localstripe_still_takes_no_payment_method_in_a_confirmation(bare: stripe.StripeClient) -> None:
    intent = open_intent(bare)

    assert refused(lambda: bare.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})) == (500, None)


def test_localstripe_still_knows_no_idempotency_keys(bare: stripe.StripeClient) -> None:
    assert open_intent(bare, "create-1") != open_intent(bare, "create-1")


def test_localstripe_still_does_not_tell_why_it_refuses_a_cancellation(bare: stripe.StripeClient) -> None:
    intent = paid_intent(bare)

    assert refused(lambda: bare.v1.payment_intents.cancel(intent.id)) == (400, None)


def test_localstripe_still_charges_the_token_of_a_declined_card(bare: stripe.StripeClient) -> None:
    assert paid_intent(bare, "pm_card_visa_chargeDeclined").status == "succeeded"


def test_localstripe_still_gives_money_back_twice(bare: stripe.StripeClient) -> None:
    intent = paid_intent(bare)
    refunds = [bare.v1.refunds.create({"payment_intent": intent.id}) for _ in range(2)]

    assert [(refund.status, refund.amount) for refund in refunds] == [("succeeded", 500)] * 2
