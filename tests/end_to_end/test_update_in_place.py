"""An update from the previous release with payments in flight, and a rollback, lose nothing and refuse no buyer."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from samtranslator.yaml_helper import yaml_parse

from command_line.environment import make_child_environment
from command_line.processes import start_process
from command_line.project import PROJECT
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.objects import ChargeStatus
from local.build import BUILD_CACHE, Build
from local.emulator.deploy import STACK_NAME, STAGE, Deployment, deploy
from local.emulator.process import Emulator, find_free_port
from local.running import DESCRIPTION
from local.stack import Stack, local_parameters
from local.tokens import TokenIssuer
from operations.deployed_stack import DeployedStack
from order_payments.domain.orders import Order, OrderLine, OrderStatus
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus, late_refund_id
from order_payments.runtime.clock import rfc3339, utc_now
from order_payments.storage.order_records import order_to_item
from tests.support import previous_release
from tests.support.http_shop import HttpShop
from tests.support.order_listener import Listener, listen
from tests.support.shop import Reply, Stock

UPDATE_TIMEOUT_SECONDS = 300
PAYERS = 2
STOCK = 100_000
KEY = "previous-release"
CARDS = {
    "paid": "pm_card_visa",
    "declined": "pm_card_visa_chargeDeclined",
    "charged, outcome unknown": "pm_dummy_timeout_after_charge",
    "not charged, outcome unknown": "pm_dummy_timeout_before_charge",
}
STATUSES = {"paid": 200, "declined": 402, "charged, outcome unknown": 202, "not charged, outcome unknown": 202}


@pytest.fixture(scope="module")
def checkout() -> Path:
    """Return the folder of the previous release."""
    return previous_release.checkout()


@contextmanager
def start_release(checkout: Path, log: Path) -> Iterator[Stack]:
    """Run the previous release's local stack, as its `make run` does, and yield it."""
    state = checkout / ".local"
    with start_process(
        [sys.executable, "-m", "local", "run"],
        environment=make_child_environment(log.parent / "home", {"PORT": str(find_free_port())}),
        directory=checkout,
        log=log,
        stop_seconds=10,
    ) as process:
        deadline = time.monotonic() + UPDATE_TIMEOUT_SECONDS
        while not (state / DESCRIPTION).exists():
            assert time.monotonic() < deadline, log.read_text()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
                pytest.fail(f"The previous release stopped: {log.read_text()}")
        description = json.loads((state / DESCRIPTION).read_text())
        port = int(description["awsEndpointUrl"].rpartition(":")[2])
        tables = description["tables"]
        yield Stack(
            api_url=description["apiUrl"],
            emulator=Emulator(port, log, process, key=""),
            # Only the proxy needs the API's id and the gateway responses, and it runs in the other process.
            deployment=Deployment("", tables["orders"], tables["products"], tables["dummyStripe"], {}),
            identity=TokenIssuer.load(
                state / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
            ),
            tokens=description["tokens"],
            state=state,
        )


class CurrentApi(httpx.BaseTransport):
    """Sends requests to the API under its current id.

    CloudFormation changes an API in place. MiniStack replaces an API whose routes change, and responds 404 to the old
    id. Such a request was not executed, so it is sent again.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api_id = stack.outputs()["ApiId"]
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + UPDATE_TIMEOUT_SECONDS
        stage_path = request.url.raw_path.removeprefix(f"/{STAGE}".encode())
        while True:
            path = f"/restapis/{self._api_id}/{STAGE}/_user_request_".encode() + stage_path
            url = request.url.copy_with(port=self._stack.emulator.port, raw_path=path)
            response = self._transport.handle_request(
                httpx.Request(request.method, url, headers=request.headers, content=request.content)
            )
            response.read()
            is_replaced = response.status_code == 404 and response.json() == {"message": "Not Found"}
            if not is_replaced or time.monotonic() > deadline:
                return response
            time.sleep(0.1)
            self._api_id = self._stack.outputs()["ApiId"]

    def close(self) -> None:
        self._transport.close()


@dataclass
class Customers:
    """Buyers who place and pay orders in a loop, each in a thread, until `stop` is set."""

    shop: HttpShop
    product: str
    stop: threading.Event = field(default_factory=threading.Event)
    paid: list[str] = field(default_factory=list)

    def buy(self) -> None:
        """Buy until `stop` is set. Raises if an order or a payment is refused."""
        while not self.stop.is_set():
            self.buy_one()

    def buy_one(self) -> None:
        """Place and pay one order."""
        order = self.shop.order((self.product, 1))
        reply = self.shop.pay(order)
        assert (reply.status, reply.body["status"]) == (200, "confirmed"), reply
        self.paid.append(order)


@dataclass(frozen=True)
class Updated:
    """The stack after its update, and the orders from before."""

    stack: Stack
    shop: HttpShop
    deployed: Deployment
    listener: Listener
    product: str
    orders: dict[str, str]
    """By the payment's state when the update began."""
    paid_reply: Reply
    """The response to the payment with the idempotency key `KEY`."""
    slow_reply: Reply
    """The response to the payment that waited for Stripe when the update began."""
    bought_during_update: list[str]


@pytest.fixture(scope="module")
def updated(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    state = tmp_path_factory.mktemp("update")
    (state / "logs").mkdir()
    build = Build(PROJECT, BUILD_CACHE)
    with build.lock():
        if not build.is_current():
            build.make()
    with (
        start_release(checkout, state / "logs" / "previous-release.log") as stack,
        closing(
            httpx.Client(base_url=stack.api_url, transport=CurrentApi(stack), timeout=UPDATE_TIMEOUT_SECONDS)
        ) as http,
        closing(HttpShop(stack, http)) as shop,
        listen(stack, stack.outputs()) as listener,
        ThreadPoolExecutor(PAYERS + 1) as pool,
    ):
        product = shop.add_product(stock=STOCK)
        orders = {kind: shop.order((product, 1)) for kind in (*CARDS, "unpaid", "slow")}
        replies = {kind: shop.pay(orders[kind], card, key=KEY) for kind, card in CARDS.items()}
        assert {kind: reply.status for kind, reply in replies.items()} == STATUSES

        customers = Customers(shop, product)
        slow = pool.submit(shop.pay, orders["slow"], "pm_dummy_slow")
        buying = [pool.submit(customers.buy) for _ in range(PAYERS)]
        with build.lock():
            deployed = deploy(build.template, local_parameters(stack.identity), stack.emulator, state)
        # At least one purchase after the update.
        customers.buy_one()
        customers.stop.set()
        for each in buying:
            each.result()

        yield Updated(stack, shop, deployed, listener, product, orders, replies["paid"], slow.result(), customers.paid)


def settle_unknown_payments(shop: HttpShop, orders: Mapping[str, str]) -> None:
    """Settle the payments with an unknown outcome, unless the scheduled reconciler already did."""
    for kind in ("charged, outcome unknown", "not charged, outcome unknown"):
        if shop.status(orders[kind])["status"] == "pending":
            shop.expire_lease(orders[kind])
            shop.reconcile()


LATE_PAYMENTS = {"owed": (RefundStatus.OWED, None), "sent": (RefundStatus.SUCCEEDED, "re_1")}


@pytest.mark.parametrize(("status", "stripe_refund_id"), LATE_PAYMENTS.values(), ids=LATE_PAYMENTS)
def test_previous_release_reads_the_refund_of_a_late_payment(
    checkout: Path, status: RefundStatus, stripe_refund_id: str | None
) -> None:
    now = utc_now()
    order = Order.place("alice", [OrderLine("tea", "Tea", 1, 450)], "usd", now)
    late = Refund(
        late_refund_id("pi_1"),
        RefundKind.LATE_PAYMENT,
        status,
        "pi_1",
        450,
        created_at=now,
        updated_at=now,
        stripe_refund_id=stripe_refund_id,
    )
    staff = replace(late, refund_id="ref_1", kind=RefundKind.STAFF, restock=(("tea", 1),))
    item = order_to_item(replace(order, status=OrderStatus.CANCELLED, refunds=(late, staff), refunds_version=2))

    order_as_read = subprocess.run(
        [sys.executable, "-c", READ_REFUND_OF_PREVIOUS_RELEASE],
        input=json.dumps(item),
        env={"PYTHONPATH": str(checkout / "layers" / "common")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert json.loads(order_as_read) == ["pi_1", stripe_refund_id, status is RefundStatus.OWED, rfc3339(now)]


READ_REFUND_OF_PREVIOUS_RELEASE = """
import json, sys
from order_payments.clock import rfc3339
from order_payments.order_records import order_from_item
order = order_from_item(json.load(sys.stdin))
refund = order.refund
print(json.dumps([refund.payment_intent_id, refund.refund_id, order.owes_refund, rfc3339(refund.owed_since)]))
"""


def test_update_keeps_the_tables_and_deploys_this_release(updated: Updated) -> None:
    before = updated.stack.deployment
    outputs = updated.stack.outputs()

    assert (outputs["OrdersTable"], outputs["ProductsTable"]) == (before.orders_table, before.products_table)
    assert "AuditStateMachine" in outputs
    assert outputs["ApiId"] == updated.deployed.api_id


def test_purchases_during_the_update_are_confirmed(updated: Updated) -> None:
    assert len(updated.bought_during_update) > PAYERS
    assert {updated.shop.status(order)["status"] for order in updated.bought_during_update} == {"confirmed"}


def test_payment_in_flight_during_the_update_is_confirmed(updated: Updated) -> None:
    assert (updated.slow_reply.status, updated.slow_reply.body["status"]) == (200, "confirmed")


@pytest.mark.parametrize(
    ("kind", "end"), [("charged, outcome unknown", "confirmed"), ("not charged, outcome unknown", "cancelled")]
)
def test_unknown_payment_of_previous_release_is_settled(updated: Updated, kind: str, end: str) -> None:
    settle_unknown_payments(updated.shop, updated.orders)

    assert updated.shop.status(updated.orders[kind])["status"] == end


def test_recorded_response_of_previous_release_is_replayed(updated: Updated) -> None:
    replayed = updated.shop.pay(updated.orders["paid"], CARDS["paid"], key=KEY)

    assert (replayed.status, replayed.body) == (updated.paid_reply.status, updated.paid_reply.body)
    assert replayed.headers["idempotent-replayed"] == "true"


def test_order_settled_before_the_update_is_unchanged(updated: Updated) -> None:
    for kind, status in (("paid", "confirmed"), ("declined", "cancelled")):
        reply = updated.shop.pay(updated.orders[kind], key="another")

        assert (reply.status, reply.code) == (409, "payment_already_attempted")
        assert reply.body["order"]["status"] == status


def test_order_placed_before_the_update_can_be_paid(updated: Updated) -> None:
    assert updated.shop.pay(updated.orders["unpaid"]).status == 200


def test_charges_match_confirmed_orders_and_stock(updated: Updated) -> None:
    settle_unknown_payments(updated.shop, updated.orders)
    orders = {*updated.orders.values(), *updated.bought_during_update}
    confirmed = sorted(order for order in orders if updated.shop.status(order)["status"] == "confirmed")
    ledger = DynamoDBStore(updated.shop.dynamodb, updated.stack.deployment.dummy_stripe_table).charges()
    charged = [charge.metadata["orderId"] for charge in ledger if charge.status is ChargeStatus.SUCCEEDED]

    assert sorted(order for order in charged if order in orders) == confirmed
    left = STOCK - len(confirmed)
    assert updated.shop.stock(updated.product) == Stock(left, 0, left)


def test_events_are_published_in_order_at_least_once(updated: Updated) -> None:
    settle_unknown_payments(updated.shop, updated.orders)
    ends = {"paid": "confirmed", "declined": "cancelled", "charged, outcome unknown": "confirmed"}
    expected = {updated.orders[kind]: end for kind, end in ends.items()}
    expected |= dict.fromkeys([*updated.bought_during_update, updated.orders["slow"]], "confirmed")

    for order, end in expected.items():
        received = [event["detail-type"] for event in updated.listener.wait_for(order, 2)]

        assert list(dict.fromkeys(received)) == ["order.created", f"order.{end}"]


def test_audit_finds_no_mismatch(updated: Updated) -> None:
    settle_unknown_payments(updated.shop, updated.orders)
    with ExitStack() as closing_all:

        def client(service: str) -> Any:
            return closing_all.enter_context(closing(updated.stack.client(service)))

        report = DeployedStack(STACK_NAME, client).audit({"lookAgainAfterSeconds": 0})

    assert (report["mismatches"], report["unjudged"]) == (0, 0)
    assert report["orders"] >= len(updated.orders) + len(updated.bought_during_update)


@pytest.fixture(scope="module")
def rolled_back(updated: Updated, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Roll back as docs/deploy.md describes, and return the orders that this release created, by kind."""
    state = tmp_path_factory.mktemp("roll-back")
    (state / "logs").mkdir()
    shop = updated.shop
    orders = {kind: shop.order((updated.product, 1)) for kind in (*CARDS, "unpaid")}
    replies = {kind: shop.pay(orders[kind], card, key=KEY) for kind, card in CARDS.items()}
    assert {kind: reply.status for kind, reply in replies.items()} == STATUSES
    before = Build(checkout, checkout / ".local" / "build").template
    known = yaml_parse(before.read_text())["Parameters"]
    parameters = {name: value for name, value in local_parameters(updated.stack.identity).items() if name in known}

    deploy(before, parameters, updated.stack.emulator, state)
    return orders


def test_rollback_keeps_the_tables_and_deploys_previous_release(updated: Updated, rolled_back: dict[str, str]) -> None:
    outputs = updated.stack.outputs()

    assert outputs["OrdersTable"] == updated.stack.deployment.orders_table
    assert "AuditStateMachine" not in outputs
    assert rolled_back


@pytest.mark.parametrize(
    ("kind", "end"), [("charged, outcome unknown", "confirmed"), ("not charged, outcome unknown", "cancelled")]
)
def test_unknown_payment_is_settled_after_the_rollback(
    updated: Updated, rolled_back: dict[str, str], kind: str, end: str
) -> None:
    settle_unknown_payments(updated.shop, rolled_back)

    assert updated.shop.status(rolled_back[kind])["status"] == end


def test_recorded_response_is_replayed_after_the_rollback(updated: Updated, rolled_back: dict[str, str]) -> None:
    replayed = updated.shop.pay(rolled_back["paid"], CARDS["paid"], key=KEY)

    assert (replayed.status, replayed.body["status"]) == (200, "confirmed")
    assert replayed.headers["idempotent-replayed"] == "true"
    assert updated.shop.status(rolled_back["declined"])["reason"]["code"] == "card_declined"


def test_unpaid_order_can_be_paid_after_the_rollback(updated: Updated, rolled_back: dict[str, str]) -> None:
    assert updated.shop.pay(rolled_back["unpaid"]).status == 200
