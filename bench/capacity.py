"""How many requests each endpoint makes of DynamoDB, and how many units they cost."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from unittest.mock import patch

from bench.figures import Bars, Family, Figure
from bench.metering import Request, metering
from bench.options import Options
from bench.service import DUMMY_STRIPE, Function, Service, call, running_service
from harness.functions import Context
from order_payments.runtime.clock import utc_now

PRODUCT = "green-tea"
PAYMENT = "payment"
STATUS_READ = "status read"
LIMITED: Mapping[tuple[str, str], tuple[str, float]] = {
    (PAYMENT, "requests"): ("DynamoDB requests a payment (the dummy's own apart)", 3),
    (STATUS_READ, "requests"): ("DynamoDB requests a status read", 1),
    (PAYMENT, "write units"): ("write units of a payment of one product", 8),
}
"""Of the parts of what a call costs, those with a limit, and what they are called."""
PAGE = 20
"""Orders on a page, as many as a buyer gets who does not say how many."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call of an endpoint comes to, at DynamoDB."""

    requests: int
    read_units: float
    write_units: float
    index_write_units: float

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "Cost":
        return cls(
            len(requests),
            sum(request.read_units for request in requests),
            sum(request.write_units for request in requests),
            sum(request.index_write_units for request in requests),
        )

    def parts(self) -> dict[str, float]:
        return {name.replace("_", " "): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Metered:
    """One call of an endpoint: the service's own requests, and the dummy Stripe's, which Stripe's API would spare."""

    service: Cost
    dummy_stripe: Cost
    unexplained: float
    """Units that the engine reports, and that are not those that were calculated."""

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "Metered":
        return cls(
            Cost.of([request for request in requests if not _is_of_dummy_stripe(request)]),
            Cost.of([request for request in requests if _is_of_dummy_stripe(request)]),
            sum(abs(request.reported - request.expected_report) for request in requests),
        )


def _is_of_dummy_stripe(request: Request) -> bool:
    return any(table.endswith(DUMMY_STRIPE) for table in request.tables)


def measure(options: Options) -> Family:
    with running_service(options) as service:
        return family(meter_endpoints(service))


def meter_endpoints(service: Service) -> dict[str, Metered]:
    """What each call comes to, by its name. They are made in this order, in which each finds what it needs."""
    service.put_products([PRODUCT])
    ids = iter([order.order_id for order in service.place_orders(PAGE + 10, [PRODUCT])])
    metered: dict[str, Metered] = {}

    def pay(card: str, *, expected: int, order_id: str | None = None) -> Metered:
        event = service.event("initiate_payment", orderId=order_id or next(ids))
        event["body"] = json.dumps({"paymentMethodId": card})
        return meter(service, "initiate_payment", partial(call, event=event, expected=expected))

    def ask(name: str, *, expected: int = 200, **path_parameters: str) -> Metered:
        event = service.event(name, **path_parameters)
        return meter(service, name, partial(call, event=event, expected=expected))

    without_key = service.event("create_order")
    for headers in ("headers", "multiValueHeaders"):
        del without_key[headers]["Idempotency-Key"]
    metered["order placed"] = meter(service, "create_order", partial(call, event=without_key, expected=201))
    metered["order placed, with a key"] = ask("create_order", expected=201)
    metered["order placed, sent again"] = ask("create_order", expected=201)
    paid = next(ids)
    metered[PAYMENT] = pay("pm_card_visa", expected=200, order_id=paid)
    metered["payment, sent again"] = pay("pm_card_visa", expected=200, order_id=paid)
    metered["payment, declined"] = pay("pm_card_visa_chargeDeclined", expected=402)
    service.put_products([PRODUCT], stock=1)
    metered["payment, short of stock"] = pay("pm_card_visa", expected=422)
    service.put_products([PRODUCT])
    metered["payment, of unknown outcome"] = pay("pm_dummy_timeout_before_charge", expected=202)
    metered["reconciler, that one payment"] = meter(service, "reconcile_payments", an_hour_later)
    metered["reconciler, nothing to do"] = meter(service, "reconcile_payments", an_hour_later)
    metered[STATUS_READ] = ask("get_order_status", orderId=next(ids))
    metered[f"a page of {PAGE} orders"] = ask("list_orders")
    metered["status overridden"] = ask("override_order_status", orderId=next(ids))
    metered["a page of products"] = ask("list_products")
    metered["product read"] = ask("get_product", productId=PRODUCT)
    metered["product put"] = ask("put_product", productId=PRODUCT)
    return metered


def meter(service: Service, name: str, ask: Callable[[Function], object]) -> Metered:
    function = service.function(name)
    with metering(function.client, service.client) as watched:
        ask(function)
    return Metered.of(watched.requests)


def an_hour_later(reconciler: Function) -> None:
    """Run the reconciler, to which every attempt is older than its lease."""
    later = utc_now() + timedelta(hours=1)
    with patch.object(reconciler.module, "utc_now", lambda: later):
        reconciler.module.handler({}, Context(50))


def family(metered: Mapping[str, Metered]) -> Family:
    """The figures: what there is a limit for, and of each endpoint what is not nothing."""
    limited, others = [], []
    for name, cost in metered.items():
        for part, value in cost.service.parts().items():
            if (name, part) in LIMITED:
                called, limit = LIMITED[name, part]
                limited.append(Figure(called, value, part, limit))
            elif value:
                others.append(Figure(f"{name}: {part}", value, part))
        others += [
            Figure(f"{name}: the dummy Stripe's {part}", value, part)
            for part, value in cost.dummy_stripe.parts().items()
            if value
        ]
    unexplained = sum(cost.unexplained for cost in metered.values())
    limited.append(Figure("units that the engine reports otherwise than is known of it", unexplained, "units", 0))
    return Family(
        "capacity",
        "DynamoDB requests and capacity units",
        [*limited, *others],
        Bars(
            "DynamoDB write units, of tables and of indexes",
            "write units",
            {
                name: cost.service.write_units + cost.service.index_write_units
                for name, cost in metered.items()
                if cost.service.write_units
            },
        ),
        notes=[
            "The dummy Stripe's requests and units are apart: with Stripe's API they are not there.",
            "Units are calculated from the items before and after each request, by AWS's rules, and held against what"
            " DynamoDB Local reports, which counts a transaction's writes twice over.",
            "A write is charged to its table; what AWS charges to the indexes besides is told apart, as on the bill."
            " What a refused transaction costs, DynamoDB's documentation does not say: here, as if it had been made.",
        ],
    )
