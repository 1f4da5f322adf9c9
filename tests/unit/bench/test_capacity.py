"""Requests and capacity units of the functions, as counted by the benchmark. Moto's own counts are ignored."""

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from bench.capacity import PAYMENT, STATUS_READ, Cost, Metered, family, meter_endpoints
from bench.metering import Charge, expected_local_report, metering
from bench.service import Service
from order_payments.stripe_adapter import retries as stripe_retries

KEY = {"orderId": {"S": "ord_1"}}


@pytest.fixture
def metered(dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, Metered]:
    monkeypatch.setattr(stripe_retries, "FIRST_PAUSE_SECONDS", 0)
    return meter_endpoints(Service("", dynamodb))


def test_cost_of_each_endpoint(metered: dict[str, Metered]) -> None:
    service = {name: cost.service for name, cost in metered.items()}
    # A read, and two transactions on the order and its product. Both write to the index `unsettled`.
    assert service[PAYMENT] == Cost(requests=3, read_units=1, write_units=8, index_write_units=2)
    assert service["payment, declined"] == service[PAYMENT]
    assert service[STATUS_READ] == Cost(requests=1, read_units=1, write_units=0, index_write_units=0)
    assert service["payment, sent again"] == service[STATUS_READ]
    # A read, and two transactions on the order, which is larger than 1 KB with its refund.
    assert service["refund"] == Cost(requests=3, read_units=1, write_units=8, index_write_units=2)
    assert service["refunds listed"] == service[STATUS_READ]
    # An entry in `by-buyer` and one in `by-placed`.
    assert service["order placed"] == Cost(requests=2, read_units=1, write_units=1, index_write_units=2)
    assert service["order placed, with a key"] == Cost(requests=3, read_units=2, write_units=1, index_write_units=2)
    assert service["reconciler, nothing to do"] == Cost(requests=18, read_units=9, write_units=0, index_write_units=0)
    assert service["a page of 20 orders"] == Cost(requests=2, read_units=20.5, write_units=0, index_write_units=0)
    # Ten shards of the index, each with the keys of three or four orders.
    all_orders = service["a page of 20 of all orders"]
    assert all_orders == Cost(requests=11, read_units=25, write_units=0, index_write_units=0)
    # Two calls. Each claims its key and writes the intent with the response; the second also reads the intent.
    assert metered[PAYMENT].dummy_stripe.requests == 5
    assert metered[STATUS_READ].dummy_stripe == Cost(0, 0, 0, 0)


def test_unexplained_units_are_over_their_limit() -> None:
    cost = Cost(1, 1, 0, 0)
    explained = family({STATUS_READ: Metered(cost, Cost(0, 0, 0, 0), unexplained=0)})
    unexplained = family({STATUS_READ: Metered(cost, Cost(0, 0, 0, 0), unexplained=0.5)})
    assert all(figure.is_within_limit for figure in explained.figures)
    assert [figure.name for figure in unexplained.figures if not figure.is_within_limit] == [
        "units that the engine reports otherwise than is known of it"
    ]


def test_figure_with_a_limit_is_shown_if_it_is_zero() -> None:
    shown = family({PAYMENT: Metered(Cost(0, 0, 0, 0), Cost(0, 0, 0, 0), unexplained=0)})
    assert {(figure.name, figure.value, figure.limit) for figure in shown.figures} >= {
        ("DynamoDB requests a payment (the dummy's own apart)", 0, 3),
        ("write units of a payment of one product", 0, 8),
    }


def test_refused_write_is_charged_like_a_successful_one(dynamodb: DynamoDBClient) -> None:
    dynamodb.put_item(TableName="OrdersTable", Item=KEY)
    with (
        metering(dynamodb, unmetered_client()) as meter,
        pytest.raises(dynamodb.exceptions.TransactionCanceledException),
    ):
        dynamodb.transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": "OrdersTable",
                        "Key": KEY,
                        "UpdateExpression": "SET unsettledShard = :n, unsettledSince = :n",
                        "ConditionExpression": "attribute_not_exists(orderId)",
                        "ExpressionAttributeValues": {":n": {"S": "now"}},
                    }
                }
            ]
        )
    (request,) = meter.requests
    assert (request.write_units, request.index_write_units, request.expected_report) == (2, 0, 0)


def test_requests_after_the_block_are_not_metered(dynamodb: DynamoDBClient) -> None:
    with metering(dynamodb, unmetered_client()) as meter:
        dynamodb.get_item(TableName="OrdersTable", Key=KEY)
    dynamodb.get_item(TableName="OrdersTable", Key=KEY)
    assert [request.operation for request in meter.requests] == ["GetItem"]


def test_expected_report_models_dynamodb_locals_miscount() -> None:
    charges = [Charge("orders", 2, 1), Charge("products", 2, 0), Charge("products", 2, 0), Charge("products", 4, 0)]
    assert expected_local_report(charges, transacted=False) == 11
    # The two writes with the same cost in one table are counted once.
    assert expected_local_report(charges, transacted=True) == 2 * (2 + 2 + 4) + 4 * 1


def unmetered_client() -> DynamoDBClient:
    """Return a client that is not metered."""
    return boto3.client("dynamodb")
