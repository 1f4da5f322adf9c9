"""The release before this one, updated to this one while payments are in flight: nothing is lost, nobody is refused."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
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
from tests.support import previous_release
from tests.support.http_shop import HttpShop
from tests.support.order_listener import Listener, listen
from tests.support.shop import Reply, Stock

UPDATE_TIMEOUT_SECONDS = 300
PAYERS = 2
STOCK = 100_000
KEY = "key-of-the-release-before"
CARDS = {
    "paid": "pm_card_visa",
    "declined": "pm_card_visa_chargeDeclined",
    "charged, and not told": "pm_dummy_timeout_after_charge",
    "not charged, and not told": "pm_dummy_timeout_before_charge",
}
STATUSES = {"paid": 200, "declined": 402, "charged, and not told": 202, "not charged, and not told": 202}


@pytest.fixture(scope="module")
def checkout() -> Path:
    """The release before."""
    return previous_release.checkout()


@contextmanager
def running_release(checkout: Path, log: Path) -> Iterator[Stack]:
    """The release before, as its own `make run` has it."""
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
                pytest.fail(f"The release before has ended: {log.read_text()}")
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
    """Carries requests to the API under the id that it has at the moment.

    CloudFormation changes an API in place. MiniStack replaces one whose routes change. Until the stack has the new
    id, it responds 404 to the old one. Such a request was not executed, so it is sent again.
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
    """Buyers who go on ordering one of a product and paying it, each in a thread, until they are told to stop."""

    shop: HttpShop
    product: str
    enough: threading.Event = field(default_factory=threading.Event)
    paid: list[str] = field(default_factory=list)

    def buy(self) -> None:
        """Buy until it is enough. Raises where an order or a payment is not answered as it should be."""
        while not self.enough.is_set():
            self.buy_one()

    def buy_one(self) -> None:
        """Place an order and pay it."""
        order = self.shop.order((self.product, 1))
        reply = self.shop.pay(order)
        assert (reply.status, reply.body["status"]) == (200, "confirmed"), reply
        self.paid.append(order)


@dataclass(frozen=True)
class Updated:
    """The stack after its update, and what there was before."""

    stack: Stack
    shop: HttpShop
    deployed: Deployment
    listener: Listener
    product: str
    orders: dict[str, str]
    """By what had become of it when the update began."""
    recorded: Reply
    """How the payment was answered that was paid under `KEY`."""
    slow: Reply
    """How the payment was answered that Stripe had been asked for when the update began."""
    bought_meanwhile: list[str]


@pytest.fixture(scope="module")
def updated(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    state = tmp_path_factory.mktemp("update")
    (state / "logs").mkdir()
    build = Build(PROJECT, BUILD_CACHE)
    with build.lock():
        if not build.is_current():
            build.make()
    with (
        running_release(checkout, state / "logs" / "release-before.log") as stack,
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
        # The new release, too, is to be bought from.
        customers.buy_one()
        customers.enough.set()
        for each in buying:
            each.result()

        yield Updated(stack, shop, deployed, listener, product, orders, replies["paid"], slow.result(), customers.paid)


def settle_what_is_in_flight(shop: HttpShop, orders: Mapping[str, str]) -> None:
    """Settle the payments left unknown, unless the reconciler's schedule has done so during a slow deployment."""
    for kind in ("charged, and not told", "not charged, and not told"):
        if shop.status(orders[kind])["status"] == "pending":
            shop.expire_lease(orders[kind])
            shop.reconcile()


def test_it_is_this_release_that_runs_on_the_tables_of_before(updated: Updated) -> None:
    before = updated.stack.deployment
    there = updated.stack.outputs()

    assert (there["OrdersTable"], there["ProductsTable"]) == (before.orders_table, before.products_table)
    assert "AuditStateMachine" in there
    assert there["ApiId"] == updated.deployed.api_id


def test_nobody_who_buys_meanwhile_is_refused(updated: Updated) -> None:
    assert len(updated.bought_meanwhile) > PAYERS
    assert {updated.shop.status(order)["status"] for order in updated.bought_meanwhile} == {"confirmed"}


def test_a_payment_that_was_under_way_is_answered(updated: Updated) -> None:
    assert (updated.slow.status, updated.slow.body["status"]) == (200, "confirmed")


@pytest.mark.parametrize(
    ("kind", "end"), [("charged, and not told", "confirmed"), ("not charged, and not told", "cancelled")]
)
def test_a_payment_left_unknown_by_the_release_before_is_settled_by_this_one(
    updated: Updated, kind: str, end: str
) -> None:
    settle_what_is_in_flight(updated.shop, updated.orders)

    assert updated.shop.status(updated.orders[kind])["status"] == end


def test_an_answer_that_the_release_before_recorded_is_given_again(updated: Updated) -> None:
    again = updated.shop.pay(updated.orders["paid"], CARDS["paid"], key=KEY)

    assert (again.status, again.body) == (updated.recorded.status, updated.recorded.body)
    assert again.headers["idempotent-replayed"] == "true"


def test_an_order_that_was_settled_before_stays_as_it_is(updated: Updated) -> None:
    for kind, status in (("paid", "confirmed"), ("declined", "cancelled")):
        reply = updated.shop.pay(updated.orders[kind], key="another")

        assert (reply.status, reply.code) == (409, "payment_already_attempted")
        assert reply.body["order"]["status"] == status


def test_an_order_that_was_placed_before_is_paid_after(updated: Updated) -> None:
    assert updated.shop.pay(updated.orders["unpaid"]).status == 200


def test_every_charge_is_a_confirmed_orders_and_the_stock_is_right(updated: Updated) -> None:
    settle_what_is_in_flight(updated.shop, updated.orders)
    orders = {*updated.orders.values(), *updated.bought_meanwhile}
    confirmed = sorted(order for order in orders if updated.shop.status(order)["status"] == "confirmed")
    ledger = DynamoDBStore(updated.shop.dynamodb, updated.stack.deployment.dummy_stripe_table).charges()
    charged = [charge.metadata["orderId"] for charge in ledger if charge.status is ChargeStatus.SUCCEEDED]

    assert sorted(order for order in charged if order in orders) == confirmed
    left = STOCK - len(confirmed)
    assert updated.shop.stock(updated.product) == Stock(left, 0, left)


def test_every_event_is_published_once_or_more_and_in_order(updated: Updated) -> None:
    settle_what_is_in_flight(updated.shop, updated.orders)
    ends = {"paid": "confirmed", "declined": "cancelled", "charged, and not told": "confirmed"}
    expected = {updated.orders[kind]: end for kind, end in ends.items()}
    expected |= dict.fromkeys([*updated.bought_meanwhile, updated.orders["slow"]], "confirmed")

    for order, end in expected.items():
        came = [event["detail-type"] for event in updated.listener.wait_for(order, 2)]

        assert list(dict.fromkeys(came)) == ["order.created", f"order.{end}"]


def test_the_audit_finds_nothing(updated: Updated) -> None:
    settle_what_is_in_flight(updated.shop, updated.orders)
    with ExitStack() as closing_all:

        def client(service: str) -> Any:
            return closing_all.enter_context(closing(updated.stack.client(service)))

        report = DeployedStack(STACK_NAME, client).audit({"lookAgainAfterSeconds": 0})

    assert (report["mismatches"], report["unjudged"]) == (0, 0)
    assert report["orders"] >= len(updated.orders) + len(updated.bought_meanwhile)


@pytest.fixture(scope="module")
def rolled_back(updated: Updated, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The release before again, as docs/operations.md says. Returns orders that this release took, by their kind."""
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


def test_after_rolling_back_it_is_the_release_before_that_runs_on_the_same_tables(
    updated: Updated, rolled_back: dict[str, str]
) -> None:
    there = updated.stack.outputs()

    assert there["OrdersTable"] == updated.stack.deployment.orders_table
    assert "AuditStateMachine" not in there
    assert rolled_back


@pytest.mark.parametrize(
    ("kind", "end"), [("charged, and not told", "confirmed"), ("not charged, and not told", "cancelled")]
)
def test_what_this_release_left_unknown_the_release_before_settles(
    updated: Updated, rolled_back: dict[str, str], kind: str, end: str
) -> None:
    settle_what_is_in_flight(updated.shop, rolled_back)

    assert updated.shop.status(rolled_back[kind])["status"] == end


def test_what_this_release_recorded_the_release_before_tells(updated: Updated, rolled_back: dict[str, str]) -> None:
    again = updated.shop.pay(rolled_back["paid"], CARDS["paid"], key=KEY)

    assert (again.status, again.body["status"]) == (200, "confirmed")
    assert again.headers["idempotent-replayed"] == "true"
    assert updated.shop.status(rolled_back["declined"])["reason"]["code"] == "card_declined"


def test_what_this_release_took_orders_for_is_paid_at_the_release_before(
    updated: Updated, rolled_back: dict[str, str]
) -> None:
    assert updated.shop.pay(rolled_back["unpaid"]).status == 200
