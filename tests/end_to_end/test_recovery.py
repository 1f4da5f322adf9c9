"""Recovery of payments on the deployed stack: the reconciler, the webhook, and killed functions."""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from command_line.errors import CommandError
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import sign
from local.shop import stripe_events
from local.stack import WEBHOOK_SECRET, Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import Reply, Stock

TIMEOUT_SECONDS = 30

needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc to find the workers")


def send_event(shop: HttpShop, type_: str, order: str, intent: str, secret: str = WEBHOOK_SECRET) -> Reply:
    """Send an event to the webhook, as Stripe does."""
    data: dict[str, Any] = {"object": {"id": intent, "object": "payment_intent", "metadata": {"orderId": order}}}
    payload = json.dumps({"id": "evt_1", "object": "event", "type": type_, "data": data})
    headers = {"Stripe-Signature": sign(payload.encode(), secret, int(time.time()))}
    return shop.send_with(None, "POST", "/webhooks/stripe", content=payload, headers=headers)


def find_workers(stack: Stack, function: str) -> set[int]:
    """Return the ids of processes that run a function of this stack. Their environment variables identify them."""
    emulator = f"AWS_ENDPOINT_URL=http://127.0.0.1:{stack.emulator.port}".encode()
    found = set()
    for process in Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes() if process.name.isdigit() else b""
        except OSError:
            continue
        variables = environment.split(b"\0")
        if emulator in variables and any(
            variable.startswith(b"AWS_LAMBDA_FUNCTION_NAME=") and function.encode() in variable
            for variable in variables
        ):
            found.add(int(process.name))
    return found


@pytest.mark.parametrize(
    ("card", "end", "stock"),
    [
        ("pm_dummy_timeout_after_charge", "confirmed", Stock(3, 0, 3)),
        ("pm_dummy_timeout_before_charge", "cancelled", Stock(5, 0, 5)),
    ],
)
def test_reconciler_settles_payment_with_unknown_outcome(shop: HttpShop, card: str, end: str, stock: Stock) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    assert shop.pay(order, card).status == 202
    shop.expire_lease(order)

    shop.reconcile()

    assert shop.status(order)["status"] == end
    assert shop.stock(product) == stock


def test_webhook_settles_payment_with_lost_reply(shop: HttpShop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]

    replies = [send_event(shop, "payment_intent.succeeded", order, intent) for _ in range(2)]

    assert [(reply.status, reply.body) for reply in replies] == [(200, {"received": True})] * 2
    assert shop.status(order)["status"] == "confirmed"
    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)


def test_event_command_settles_payment(stack: Stack, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]

    assert stripe_events.send(stack.description(), order, stripe_events.SUCCEEDED) == {intent: 200}
    assert shop.status(order)["status"] == "confirmed"


@pytest.mark.parametrize(
    ("order", "event_type"), [("ord_unknown", stripe_events.SUCCEEDED), ("ord_1", "payment_intent.unknown")]
)
def test_event_command_rejects_unknown_order_or_event_type(stack: Stack, order: str, event_type: str) -> None:
    with pytest.raises(CommandError):
        stripe_events.send(stack.description(), order, event_type)


def test_event_with_wrong_signature_is_refused(shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]
    before = shop.status(order)

    reply = send_event(shop, "payment_intent.succeeded", order, intent, secret="whsec_mallory")

    assert (reply.status, reply.code) == (400, "invalid_signature")
    assert shop.status(order) == before


def kill_when(stack: Stack, function: str, is_due: Callable[[], bool]) -> None:
    """Kill all workers of a function once `is_due`."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_due():
        assert time.monotonic() < deadline
    for worker in find_workers(stack, function):
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def is_charged(stack: Stack, shop: HttpShop, order: str) -> bool:
    """Return whether Stripe has charged an order."""
    store = DynamoDBStore(shop.dynamodb, stack.deployment.dummy_stripe_table)
    return any(charge.metadata["orderId"] == order for charge in store.charges())


def check_settled(stack: Stack, shop: HttpShop, order: str, product: str, *ends: str) -> None:
    """Reconcile an order of 2 out of 5 units, and check that it has one of these statuses and cannot be paid again."""
    assert shop.status(order)["status"] == "pending"
    shop.expire_lease(order)
    shop.reconcile()
    end = shop.status(order)["status"]
    assert end in ends
    assert is_charged(stack, shop, order) is (end == "confirmed")
    assert shop.stock(product) == (Stock(3, 0, 3) if end == "confirmed" else Stock(5, 0, 5))
    assert shop.pay(order).code == "payment_already_attempted"


@needs_proc
def test_payment_killed_after_its_claim_is_settled(stack: Stack, shop: HttpShop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(shop.pay, order, "pm_dummy_slow")
        kill_when(stack, "InitiatePayment", lambda: shop.stock(product).reserved == 2)
        assert paying.result().status >= 500

    check_settled(stack, shop, order, product, "confirmed", "cancelled")


@needs_proc
def test_payment_killed_after_its_charge_is_confirmed(stack: Stack, shop: HttpShop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(shop.pay, order, "pm_dummy_slow")  # charges at once, responds three seconds later
        kill_when(stack, "InitiatePayment", lambda: is_charged(stack, shop, order))
        assert paying.result().status >= 500

    check_settled(stack, shop, order, product, "confirmed")


@needs_proc
def test_next_reconciler_completes_work_of_killed_one(stack: Stack, shop: HttpShop) -> None:
    product = shop.add_product(stock=50)
    orders = [shop.order((product, 1)) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda order: shop.pay(order, "pm_dummy_timeout_after_charge"), orders))
    for order in orders:
        shop.expire_lease(order)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shop.reconcile)
        kill_when(stack, "ReconcilePayments", lambda: shop.stock(product).stock < 50)
        with suppress(AssertionError):
            running.result()
    shop.reconcile()

    assert {shop.status(order)["status"] for order in orders} == {"confirmed"}
    assert shop.stock(product) == Stock(38, 0, 38)
