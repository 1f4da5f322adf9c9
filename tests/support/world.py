"""The service without HTTP, on a DynamoDB engine and the dummy Stripe, for faults that no client can cause.

It has two DynamoDB clients: `service` gets the injected faults; `fault_free` is for the dummy Stripe's state and for
the tests' own reads and writes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import stripe

from dummy_stripe import Charge, ChargeStatus, RefundStatus, end_refund, set_refund_behavior
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.tables import recreate_tables
from order_payments import payments, refunds
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.orders import Order, OrderLine, OrderStatus
from order_payments.domain.refunds import CLAIMING_STATUSES, refunded_amount, restocked_units, staff_refund_id
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.settings import OrderSettings
from order_payments.storage.dynamodb import from_wire
from order_payments.storage.order_records import order_from_item
from order_payments.storage.order_writes import REFUND_SHARDS, UNSETTLED_SHARDS
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from order_payments.stripe_adapter.gateway import StripeGateway

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ALL_SHARDS = (*UNSETTLED_SHARDS, *REFUND_SHARDS)
BUYER = "alice"
ADMIN = "ada"
ONE_YEAR = timedelta(days=365)
VALID_FOR = OrderSettings.from_environment({}).valid_for


def no_pause(_: float) -> None:
    """Skip the pause before a retry."""


@dataclass
class World:
    """The tables and the Stripe of one test. `initial_stock` is each product's stock before any sale."""

    service: "DynamoDBClient"
    fault_free: "DynamoDBClient"
    initial_stock: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.products = ProductsTable(self.service, "ProductsTable")
        self.orders = OrdersTable(self.service, "OrdersTable", self.products)
        self.store = DynamoDBStore(self.fault_free, "DummyStripeTable")
        self.wire = DummyStripeHTTPClient(self.store)
        client = stripe.StripeClient("sk_test_world", http_client=self.wire)
        self.stripe = StripeGateway(client, self.wire, sleep=no_pause)

    @classmethod
    def fresh(cls, service: "DynamoDBClient", fault_free: "DynamoDBClient") -> "World":
        """Recreate the engine's tables and return a world on them. No other test may use the engine meanwhile."""
        recreate_tables(fault_free)
        return cls(service, fault_free)

    def add_product(self, product_id: str, stock: int) -> None:
        """Create a product that costs $45.99."""
        ProductsTable(self.fault_free, "ProductsTable").put(
            product_id, name=product_id, unit_price=4599, currency="usd", stock=stock
        )
        self.initial_stock[product_id] = stock

    def place(self, basket: dict[str, int], buyer: str = BUYER, *, at: datetime | None = None) -> Order:
        """Place an order for a quantity of each product, now unless `at` is given."""
        lines = [OrderLine(product_id, product_id, quantity, 4599) for product_id, quantity in basket.items()]
        placed_at = at or utc_now()
        order = Order.place(buyer, lines, "usd", placed_at, expires_at=placed_at + VALID_FOR)
        OrdersTable(self.fault_free, "OrdersTable", self.products).create(order)
        return order

    def pay(
        self, order: Order, card: str = "pm_card_visa", *, key: str | None = None, seconds: float = 28
    ) -> Order | OrderPaymentError:
        """Pay an order, and return the order or the service's error."""
        request = payments.PaymentRequest(order.order_id, order.buyer_id, card, key)
        try:
            return payments.initiate_payment(
                request,
                valid_for=VALID_FOR,
                orders=self.orders,
                stripe=self.stripe,
                deadline=Deadline.after(seconds),
            ).order
        except OrderPaymentError as error:
            return error

    def override(self, order: Order, status: OrderStatus) -> Order | OrderPaymentError:
        """Settle an order by hand, and return the order or the service's error."""
        try:
            return payments.override_status(
                order.order_id, status, by=ADMIN, why="test", orders=self.orders, deadline=Deadline.after(28)
            )
        except OrderPaymentError as error:
            return error

    def refund(
        self,
        order: Order,
        amount: int | None = None,
        *,
        restock: dict[str, int] | None = None,
        key: str | None = None,
        seconds: float = 28,
    ) -> refunds.RefundResult | OrderPaymentError:
        """Refund an order as an admin does, and return the result or the service's error."""
        request = refunds.RefundRequest(
            order.order_id,
            staff_refund_id(order.order_id, ADMIN, key),
            amount,
            "test",
            tuple((restock or {}).items()),
            by=ADMIN,
            request_id="test",
        )
        try:
            return refunds.request_refund(
                request, orders=self.orders, stripe=self.stripe, deadline=Deadline.after(seconds)
            )
        except OrderPaymentError as error:
            return error

    def follow_refund(self, stripe_refund_id: str) -> Order | OrderPaymentError | None:
        """Receive an event about a refund, and return the order or the service's error."""
        try:
            return refunds.follow_refund(
                stripe_refund_id, orders=self.orders, stripe=self.stripe, deadline=Deadline.after(28)
            )
        except OrderPaymentError as error:
            return error

    def refund_without_service(self, order: Order, amount: int | None = None) -> str:
        """Refund the order's charge in Stripe's dashboard. Returns Stripe's id of the refund."""
        client = stripe.StripeClient("sk_test_dashboard", http_client=DummyStripeHTTPClient(self.store))
        (charge,) = self.charges_at_stripe(order)
        parameters: Any = {"payment_intent": charge.payment_intent} | ({} if amount is None else {"amount": amount})
        return client.v1.refunds.create(parameters).id

    def fail_refund(self, stripe_refund_id: str) -> None:
        """Let a refund fail at Stripe, also if it has succeeded."""
        end_refund(self.store, stripe_refund_id, RefundStatus.FAILED, self.wire.clock())

    def win_dispute(self, order: Order) -> None:
        """End the dispute of the order's charge, so that it can be refunded."""
        (charge,) = self.charges_at_stripe(order)
        set_refund_behavior(self.store, charge.payment_intent, None, self.wire.clock())

    def reconcile(self) -> None:
        """Reconcile each unsettled order in turn, as if every lease had expired."""
        for shard in self.shards_in_use():
            for entry in self.orders.unsettled.entries(shard, before=utc_now() + ONE_YEAR, limit=1000):
                self.reconcile_one(entry.order_id)

    def reconcile_one(self, order_id: str) -> Order:
        """Reconcile one order, as if its lease had expired."""
        return payments.reconcile(
            self.orders.get(order_id),
            before=utc_now() + ONE_YEAR,
            orders=self.orders,
            stripe=self.stripe,
            deadline=Deadline.after(50),
        )

    def shards_in_use(self) -> list[str]:
        """Return the shards that list an unsettled order. One scan replaces a query of each shard."""
        pages = self.fault_free.get_paginator("scan").paginate(TableName="OrdersTable", IndexName="unsettled")
        in_use = {item["unsettledShard"]["S"] for page in pages for item in page["Items"]}
        assert in_use <= {*ALL_SHARDS}, f"the reconciler does not read {in_use}"
        return sorted(in_use, key=ALL_SHARDS.index)

    def read_order(self, order: Order) -> Order:
        """Return the stored order."""
        return OrdersTable(self.fault_free, "OrdersTable", self.products).get(order.order_id)

    def all_orders(self) -> list[Order]:
        """Return all stored orders."""
        pages = self.fault_free.get_paginator("scan").paginate(TableName="OrdersTable", ConsistentRead=True)
        return [order_from_item(from_wire(item)) for page in pages for item in page["Items"]]

    def stock(self, product_id: str) -> tuple[int, int]:
        """Return a product's stock and available units."""
        key = {"productId": {"S": product_id}}
        item = self.fault_free.get_item(TableName="ProductsTable", Key=key, ConsistentRead=True)["Item"]
        stock, available = (int(from_wire(item)[name]) for name in ("stock", "available"))
        return stock, available

    def charges_of(self, order: Order) -> int:
        """Return the number of charges of the order that were not refunded."""
        return _count_kept(self._charges_by_order())[order.order_id]

    def check_invariants(self) -> None:
        """Check what must hold at any time, after any fault."""
        at_stripe, orders = self._charges_by_order(), self.all_orders()
        charges = _count_kept(at_stripe)
        sold, held = self._units(orders)
        for product_id, initial in self.initial_stock.items():
            stock, available = self.stock(product_id)
            assert 0 <= available <= stock, f"{product_id}: {available} of {stock} for sale"
            assert initial - stock == sold[product_id], f"{product_id}: {initial - stock} gone, {sold[product_id]} sold"
            assert stock - available == held[product_id], (
                f"{product_id}: {stock - available} held, not {held[product_id]}"
            )
        for order in orders:
            charged = charges[order.order_id]
            assert charged <= 1, f"{order.order_id} was charged {charged} times"
            if order.status is OrderStatus.CONFIRMED:
                assert charged == (0 if order.override else 1), f"{order.order_id} is confirmed, charged {charged}"
            claimed = sum(refund.amount for refund in order.refunds if refund.status in CLAIMING_STATUSES)
            returned = _refunded_amount(at_stripe[order.order_id])
            assert returned <= claimed, f"{order.order_id}: {returned} returned, and only {claimed} recorded"
            if order.status is OrderStatus.CANCELLED and charged:
                assert order.owed_refund, f"{order.order_id} is cancelled, and its charge kept"

    def check_settled(self) -> None:
        """Check the invariants, and that nothing is in flight or left to refund."""
        self.check_invariants()
        orders, at_stripe = self.all_orders(), self._charges_by_order()
        unsettled = [order for order in orders if order.in_flight]
        assert not unsettled, f"{[order.order_id for order in unsettled]} are unsettled"
        owing = [order.order_id for order in orders if order.owed_refund]
        assert not owing, f"{owing} owe a refund"
        assert self.shards_in_use() == []
        for order in orders:
            recorded, returned = refunded_amount(order.refunds), _refunded_amount(at_stripe[order.order_id])
            assert recorded == returned, f"{order.order_id}: {recorded} refunded, and {returned} at Stripe"
        paid = {order.order_id for order in orders if order.status is OrderStatus.CONFIRMED and not order.override}
        assert {order_id for order_id, kept in _count_kept(at_stripe).items() if kept} == paid

    def refunded_at_stripe(self, order: Order) -> int:
        """Return the amount that Stripe has refunded of the order's charges."""
        return _refunded_amount(self.charges_at_stripe(order))

    def charges_at_stripe(self, order: Order) -> list[Charge]:
        """Return the order's charges that succeeded, with their refunds."""
        return self._charges_by_order()[order.order_id]

    def _charges_by_order(self) -> defaultdict[str, list[Charge]]:
        """Return the charges that succeeded, by order, from one read of Stripe's state."""
        found: defaultdict[str, list[Charge]] = defaultdict(list)
        for charge in self.store.charges():
            if charge.status is ChargeStatus.SUCCEEDED:
                found[charge.metadata["orderId"]].append(charge)
        return found

    @staticmethod
    def _units(orders: Iterable[Order]) -> tuple[Counter[str], Counter[str]]:
        """Return the units of each product in confirmed orders, and in orders with a payment in flight."""
        sold: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for order in orders:
            if order.status is OrderStatus.CONFIRMED:
                sold.update(order.quantities())
                sold.subtract(restocked_units(refund for refund in order.refunds if not refund.is_owed))
            elif order.in_flight:
                held.update(order.quantities())
        return sold, held


def _count_kept(charges: Mapping[str, Iterable[Charge]]) -> Counter[str]:
    """Return the number of each order's charges that were not refunded as late payments."""
    return Counter(
        {
            order_id: sum(
                not any(refund.returns_money and set(refund.metadata) == {"orderId"} for refund in charge.refunds)
                for charge in of_order
            )
            for order_id, of_order in charges.items()
        }
    )


def _refunded_amount(charges: Iterable[Charge]) -> int:
    return sum(charge.amount_refunded for charge in charges)
