"""Cost of the same requests on orders tables of different sizes, measured in turns."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from unittest.mock import patch

from bench.capacity import Cost, Metered, run_reconciler_an_hour_later
from bench.figures import Family, Figure, Lines
from bench.filling import ORDERS_PER_BUYER, PaidOrder, fill
from bench.metering import metering
from bench.options import Options
from bench.service import Function, Service, call, running_service
from order_payments.runtime.clock import rfc3339
from order_payments.stripe_adapter import retries as stripe_retries

PRODUCT = "green-tea"
SIZES, QUICK_SIZES = (10**2, 10**4, 10**6), (10**2, 10**3, 10**4)
PAYMENT_LIMIT = 1.1
UNKNOWN_PAYMENTS_PER_RUN = 8
"""Payments of unknown outcome that each reconciler run finds."""

_TURNS, _QUICK_TURNS = 300, 20
_TURNS_PER_RUN = 10
"""Turns between reconciler runs. A run takes as long as many payments."""
_WARM_UP = 20


@dataclass(slots=True)
class Shop:
    """A service whose table holds `size` orders, and the durations of its requests in seconds."""

    service: Service
    size: int
    functions: Mapping[str, Function]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def create(cls, service: Service, size: int) -> "Shop":
        service.put_products([PRODUCT])
        fill(service, size, PRODUCT)
        names = ("initiate_payment", "get_order_status", "list_orders", "list_all_orders", "reconcile_payments")
        return cls(service, size, {name: service.function(name) for name in names})

    def payment(self, _: int, *, card: str = "pm_card_visa", expected: int = 200) -> Callable[[], object]:
        (order,) = self.service.place_orders(1, [PRODUCT])
        event = self.service.event("initiate_payment", orderId=order.order_id)
        event["body"] = json.dumps({"paymentMethodId": card})
        return partial(call, self.functions["initiate_payment"], event, expected=expected)

    def status_read(self, turn: int) -> Callable[[], object]:
        paid = self._pick_order(turn)
        event = self.service.event("get_order_status", orderId=paid.order_id)
        event["requestContext"]["authorizer"]["sub"] = paid.buyer
        return partial(call, self.functions["get_order_status"], event, expected=200)

    def page(self, turn: int) -> Callable[[], object]:
        event = self.service.event("list_orders")
        event["requestContext"]["authorizer"]["sub"] = self._pick_order(turn).buyer
        return partial(call, self.functions["list_orders"], event, expected=200)

    def page_of_all(self, _: int) -> Callable[[], object]:
        event = self.service.event("list_all_orders")
        return partial(call, self.functions["list_all_orders"], event, expected=200)

    def filtered_page_of_all(self, turn: int) -> Callable[[], object]:
        """Return the request of a page from the middle of the table, whose orders all have another status."""
        event = self.service.event("list_all_orders")
        placed_to = rfc3339(PaidOrder(self.size // 2 + turn % 10).placed_at)
        event["queryStringParameters"] = {"status": "cancelled", "placedTo": placed_to}
        event["multiValueQueryStringParameters"] = {"status": ["cancelled"], "placedTo": [placed_to]}
        return partial(call, self.functions["list_all_orders"], event, expected=200)

    def reconciler_run(self, turn: int) -> Callable[[], object]:
        """Return a reconciler run that finds payments to settle."""
        # Without contention, the gateway needs no pause before a retry.
        with patch.object(stripe_retries, "FIRST_PAUSE_SECONDS", 0):
            for _ in range(UNKNOWN_PAYMENTS_PER_RUN):
                self.payment(turn, card="pm_dummy_timeout_before_charge", expected=202)()
        return partial(run_reconciler_an_hour_later, self.functions["reconcile_payments"])

    def _pick_order(self, turn: int) -> PaidOrder:
        return PaidOrder(turn * 7919 % self.size)

    def meter(self, name: str, request: Callable[[], object]) -> Cost:
        """Return the DynamoDB cost of a request, without the dummy Stripe's part."""
        with metering(self.functions[name].client, self.service.client) as metered:
            request()
        return Metered.of(metered.requests).service


REQUESTS: Mapping[str, tuple[str, Callable[[Shop, int], Callable[[], object]]]] = {
    "payment": ("initiate_payment", Shop.payment),
    "status read": ("get_order_status", Shop.status_read),
    "page of orders": ("list_orders", Shop.page),
    "page of all orders": ("list_all_orders", Shop.page_of_all),
    "filtered page of all orders": ("list_all_orders", Shop.filtered_page_of_all),
    "reconciler run": ("reconcile_payments", Shop.reconciler_run),
}


def measure(options: Options) -> Family:
    sizes, turns = (QUICK_SIZES, _QUICK_TURNS) if options.quick else (SIZES, _TURNS)
    with running_service(options) as service:
        shops = [Shop.create(service.with_prefix(f"{size}-"), size) for size in sizes]
        for turn in range(_WARM_UP + turns):
            for shop in shops if turn % 2 else reversed(shops):
                take_turn(shop, turn)
        costs = {
            name: [shop.meter(function, request(shop, turns)) for shop in shops]
            for name, (function, request) in REQUESTS.items()
        }
    return family(shops, costs)


def take_turn(shop: Shop, turn: int) -> None:
    for name, (function, request) in REQUESTS.items():
        if function == "reconcile_payments" and turn % _TURNS_PER_RUN:
            continue
        ask = request(shop, turn)
        started = time.perf_counter()
        ask()
        if turn >= _WARM_UP:
            shop.seconds.setdefault(name, []).append(time.perf_counter() - started)


def family(shops: Sequence[Shop], costs: Mapping[str, Sequence[Cost]]) -> Family:
    """Return the figures of each request at each size, and the ratios of the largest size to the smallest."""
    smallest, largest = shops[0], shops[-1]
    between = f"at {format_power_of_ten(largest.size)} orders ÷ at {format_power_of_ten(smallest.size)}"
    figures = []
    for name, (first, *_, last) in costs.items():
        limit = PAYMENT_LIMIT if name == "payment" else None
        figures.append(Figure(f"cost of a {name} {between}", units(last) / units(first), "ratio", limit))
        time_of = f"time of a {name} {between}"
        figures.append(Figure.ratio(time_of, largest.seconds[name], smallest.seconds[name], limit))
    for name, at_sizes in costs.items():
        for shop, cost in zip(shops, at_sizes, strict=True):
            where = f"{name} at {format_power_of_ten(shop.size)} orders"
            milliseconds = [1000 * seconds for seconds in shop.seconds[name]]
            figures += [
                Figure.median(f"{where}: time", milliseconds, "ms"),
                Figure(f"{where}: requests", cost.requests, "requests"),
                Figure(f"{where}: units", units(cost), "units"),
            ]
    return Family(
        "growth",
        "Growth of the orders table",
        figures,
        Lines(
            "Median time of a request, by number of orders in the table",
            "orders",
            "ms, on DynamoDB Local",
            {name: [(shop.size, 1000 * median(shop.seconds[name])) for shop in shops] for name in costs},
            log_x=True,
            log_y=True,
        ),
        notes=[
            "Cost is in DynamoDB's read and write units, of tables and indexes. Time is that of DynamoDB Local, which"
            " stores its tables in SQLite.",
            f"Each table has the orders of many buyers, {ORDERS_PER_BUYER} each. A reconciler run settles"
            f" {UNKNOWN_PAYMENTS_PER_RUN} payments of unknown outcome.",
        ],
    )


def format_power_of_ten(number: int) -> str:
    """Return a power of ten as text, such as `10⁶`."""
    return "10" + str(len(str(number)) - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def units(cost: Cost) -> float:
    """Return the sum of all units that DynamoDB charges for."""
    return cost.read_units + cost.write_units + cost.index_write_units
