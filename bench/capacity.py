"""DynamoDB requests and capacity units of each endpoint."""

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
LIMITS: Mapping[tuple[str, str], tuple[str, float]] = {
    (PAYMENT, "requests"): ("DynamoDB requests a payment (the dummy's own apart)", 3),
    (STATUS_READ, "requests"): ("DynamoDB requests a status read", 1),
    (PAYMENT, "write units"): ("write units of a payment of one product", 8),
}
"""Name and limit of the figures that have a limit, by call and part of its cost."""
PAGE = 20
"""Orders per page, the default of the API."""


@dataclass(frozen=True, slots=True)
class Cost:
    """DynamoDB cost of one call of an endpoint."""

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
    """Cost of one call of an endpoint, divided into the service's requests and those of the dummy Stripe."""

    service: Cost
    dummy_stripe: Cost
    unexplained: float
    """Difference between the units that the engine reported and those that were expected."""

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "Metered":
        return cls(
            Cost.of([request for request in requests if not _is_for_dummy_stripe(request)]),
            Cost.of([request for request in requests if _is_for_dummy_stripe(request)]),
            sum(abs(request.reported - request.expected_report) for request in requests),
        )


def _is_for_dummy_stripe(request: Request) -> bool:
    return any(table.endswith(DUMMY_STRIPE) for table in request.tables)


def measure(options: Options) -> Family:
    with running_service(options) as service:
        return family(meter_endpoints(service))


def meter_endpoints(service: Service) -> dict[str, Metered]:
    """Return the cost of each call by name. The calls depend on their order."""
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
    metered["refund"] = ask("refund_order", expected=201, orderId=paid)
    metered["order with its history"] = ask("get_order_details", orderId=paid)
    metered["refunds listed"] = ask("list_refunds", orderId=paid)
    metered["payment, declined"] = pay("pm_card_visa_chargeDeclined", expected=402)
    service.put_products([PRODUCT], stock=1)
    metered["payment, short of stock"] = pay("pm_card_visa", expected=422)
    service.put_products([PRODUCT])
    metered["payment, of unknown outcome"] = pay("pm_dummy_timeout_before_charge", expected=202)
    metered["reconciler, that one payment"] = meter(service, "reconcile_payments", run_reconciler_an_hour_later)
    metered["reconciler, nothing to do"] = meter(service, "reconcile_payments", run_reconciler_an_hour_later)
    metered[STATUS_READ] = ask("get_order_status", orderId=next(ids))
    metered[f"a page of {PAGE} orders"] = ask("list_orders")
    metered[f"a page of {PAGE} of all orders"] = ask("list_all_orders")
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


def run_reconciler_an_hour_later(reconciler: Function) -> None:
    """Run the reconciler an hour later, when the lease of every attempt has expired."""
    later = utc_now() + timedelta(hours=1)
    with patch.object(reconciler.module, "utc_now", lambda: later):
        reconciler.module.handler({}, Context(50))


def family(metered: Mapping[str, Metered]) -> Family:
    """Return the figures with a limit, and all others that are not zero."""
    limited, others = [], []
    for name, cost in metered.items():
        for part, value in cost.service.parts().items():
            if (name, part) in LIMITS:
                figure_name, limit = LIMITS[name, part]
                limited.append(Figure(figure_name, value, part, limit))
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
            "DynamoDB write units of tables and indexes",
            "write units",
            {
                name: cost.service.write_units + cost.service.index_write_units
                for name, cost in metered.items()
                if cost.service.write_units
            },
        ),
        notes=[
            "The dummy Stripe's requests and units are listed separately. Stripe's API does not cause them.",
            "Units are calculated by AWS's rules from the items before and after each request, and compared with those"
            " that DynamoDB Local reports, which counts the writes of a transaction twice.",
            "Table writes and index writes are listed separately, as on AWS's bill. DynamoDB's documentation does not"
            " say what a cancelled transaction costs. Here it costs as much as a successful one.",
        ],
    )
