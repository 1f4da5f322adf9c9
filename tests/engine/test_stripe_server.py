"""`STRIPE_BACKEND=api` over real HTTP, against the dummy Stripe's server: state, idempotency keys and faults."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from dummy_stripe.server import serve
from order_payments.domain.orders import Order
from order_payments.runtime.clock import Deadline
from order_payments.stripe_adapter import retries
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Cancelled, Declined, Open, Paid, RateLimited, Unknown

from .stripe_servers import FAR_DEADLINE, KEY, claim, new_order, open_gateway


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve() as url:
        yield url


@pytest.fixture
def client(server: str) -> stripe.StripeClient:
    """Return the SDK's own client, with an empty state."""
    client = stripe.StripeClient(KEY, base_addresses={"api": server}, max_network_retries=0)
    client.raw_request("post", "/_dummy/reset")
    return client


@pytest.fixture
def gateway(
    server: str,
    client: stripe.StripeClient,  # noqa: ARG001 - resets the state
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StripeGateway]:
    monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.01)
    with open_gateway(server) as gateway:
        yield gateway


def create(gateway: StripeGateway, card: str = "pm_card_visa") -> Order:
    order = new_order()
    return claim(order, gateway.create_intent(order, deadline=FAR_DEADLINE), card)


def add_fault(client: stripe.StripeClient, fault: str, **options: Any) -> None:
    client.raw_request("post", "/_dummy/faults", fault=fault, **options)


def charges(client: stripe.StripeClient) -> list[str]:
    intents = client.v1.payment_intents.list({"expand": ["data.latest_charge"]}).data
    found: list[Any] = [intent.latest_charge for intent in intents if intent.latest_charge]
    return [charge.status for charge in found]


def test_order_is_paid(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = create(gateway)

    assert gateway.confirm(order, deadline=FAR_DEADLINE) == Paid()
    assert charges(client) == ["succeeded"]


def test_declined_order_is_fenced(gateway: StripeGateway) -> None:
    order = create(gateway, "pm_card_visa_chargeDeclinedInsufficientFunds")

    outcome = gateway.confirm(order, deadline=FAR_DEADLINE)
    assert isinstance(outcome, Declined)
    assert outcome.reason.decline_code == "insufficient_funds"
    intent = order.require_in_flight().payment_intent_id
    assert gateway.cancel(order, intent, deadline=FAR_DEADLINE) == Cancelled(outcome.reason)


@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", "key_in_use"])
def test_retry_charges_once(gateway: StripeGateway, client: stripe.StripeClient, fault: str) -> None:
    order = create(gateway)
    add_fault(client, fault, **({"as": "reset"} if fault != "key_in_use" else {}))

    assert gateway.confirm(order, deadline=FAR_DEADLINE) == Paid()
    assert charges(client) == ["succeeded"]


@pytest.mark.parametrize(("fault", "charged"), [("lost_reply", ["succeeded"]), ("lost_request", [])])
def test_outcome_is_unknown_if_no_response_arrives(
    gateway: StripeGateway, client: stripe.StripeClient, fault: str, charged: list[str]
) -> None:
    order = create(gateway)
    add_fault(client, fault, calls=2)

    assert gateway.confirm(order, deadline=Deadline.after(2.4)) == Unknown()
    assert charges(client) == charged


def test_outcome_is_unknown_after_a_server_error(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = create(gateway)
    add_fault(client, "api_error")

    assert gateway.confirm(order, deadline=FAR_DEADLINE) == Unknown()
    assert gateway.retrieve_state(order, order.require_in_flight().payment_intent_id, deadline=FAR_DEADLINE) == Open()


def test_payment_is_rate_limited_if_every_try_was(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = create(gateway)
    add_fault(client, "rate_limited", calls=retries.MAXIMUM_RATE_LIMITED_TRIES)

    assert isinstance(gateway.confirm(order, deadline=FAR_DEADLINE), RateLimited)
    assert charges(client) == []
    assert gateway.confirm(order, deadline=FAR_DEADLINE) == Paid()
