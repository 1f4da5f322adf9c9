"""The stack with `STRIPE_BACKEND=api` and the server of the dummy Stripe as `STRIPE_API_BASE`."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from dummy_stripe.server import serve
from local.stack import DUMMY_STRIPE_KEY, Stack, start_stack
from tests.support.http_shop import HttpShop
from tests.support.shop import Stock


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve() as url:
        yield url


@pytest.fixture(scope="module")
def stack(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    parameters = {"StripeBackend": "api", "StripeApiBase": server}
    with start_stack(state=tmp_path_factory.mktemp("stripe-server"), parameters=parameters) as running:
        yield running


@pytest.fixture
def client(server: str) -> stripe.StripeClient:
    return stripe.StripeClient(DUMMY_STRIPE_KEY, base_addresses={"api": server})


def charge_statuses(client: stripe.StripeClient, order: str) -> list[str]:
    """Return the statuses of an order's charges at Stripe."""
    intents = client.v1.payment_intents.list({"limit": 100, "expand": ["data.latest_charge"]}).data
    found: list[Any] = [intent.latest_charge for intent in intents if intent.metadata["orderId"] == order]
    return [charge.status for charge in found]


def test_order_is_paid(shop: HttpShop, client: stripe.StripeClient) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    assert shop.pay(order).status == 200
    assert charge_statuses(client, order) == ["succeeded"]
    assert shop.stock(product) == Stock(3, 0, 3)


def test_declined_order_is_cancelled(shop: HttpShop, client: stripe.StripeClient) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert (reply.status, reply.body["order"]["reason"]["declineCode"]) == (402, "insufficient_funds")
    assert charge_statuses(client, order) == ["failed"]
    assert shop.stock(product) == Stock(5, 0, 5)


def test_payment_whose_replies_are_lost_is_reconciled(shop: HttpShop, client: stripe.StripeClient) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    client.raw_request("post", "/_dummy/faults", fault="lost_reply", path="*/confirm", calls=2, **{"as": "reset"})

    assert shop.pay(order).status == 202
    assert shop.stock(product) == Stock(5, 2, 3)
    shop.expire_lease(order)
    shop.reconcile()

    assert shop.status(order)["status"] == "confirmed"
    assert charge_statuses(client, order) == ["succeeded"]
    assert shop.stock(product) == Stock(3, 0, 3)
