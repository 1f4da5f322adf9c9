"""The functions' requests and units, as the bench counts them; here on moto, whose own counts are not looked at."""

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from bench.capacity import PAYMENT, STATUS_READ, Cost, Metered, family, meter_endpoints
from bench.metering import Charge, metering, reported_locally
from bench.service import Service
from order_payments.stripe_adapter import retries as stripe_retries

KEY = {"orderId": {"S": "ord_1"}}


@pytest.fixture
def metered(dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, Metered]:
    monkeypatch.setattr(stripe_retries, "FIRST_PAUSE_SECONDS", 0)
    return meter_endpoints(Service("", dynamodb))


def test_what_the_endpoints_cost(metered: dict[str, Metered]) -> None:
    service = {name: cost.service for name, cost in metered.items()}
    # A read, and two transactions on the order and its product, of which the index `unsettled` sees both.
    assert service[PAYMENT] == Cost(requests=3, read_units=1, write_units=8, index_write_units=2)
    assert service["payment, declined"] == service[PAYMENT]
    assert service[STATUS_READ] == Cost(requests=1, read_units=1, write_units=0, index_write_units=0)
    assert service["payment, sent again"] == service[STATUS_READ]
    assert service["order placed"] == Cost(requests=2, read_units=1, write_units=1, index_write_units=1)
    assert service["order placed, with a key"] == Cost(requests=3, read_units=2, write_units=1, index_write_units=1)
    assert service["reconciler, nothing to do"] == Cost(requests=16, read_units=8, write_units=0, index_write_units=0)
    assert service["a page of 20 orders"] == Cost(requests=2, read_units=20.5, write_units=0, index_write_units=0)
    # Two calls: each claims its key and writes the intent with the answer, and the second reads the intent.
    assert metered[PAYMENT].dummy_stripe.requests == 5
    assert metered[STATUS_READ].dummy_stripe == Cost(0, 0, 0, 0)


def test_a_report_that_nothing_explains_is_over_its_limit() -> None:
    nothing = Cost(1, 1, 0, 0)
    explained = family({STATUS_READ: Metered(nothing, Cost(0, 0, 0, 0), unexplained=0)})
    unexplained = family({STATUS_READ: Metered(nothing, Cost(0, 0, 0, 0), unexplained=0.5)})
    assert all(figure.is_kept for figure in explained.figures)
    assert [figure.name for figure in unexplained.figures if not figure.is_kept] == [
        "units that the engine reports otherwise than is known of it"
    ]


def test_a_limit_is_shown_even_where_nothing_was_counted() -> None:
    told = family({PAYMENT: Metered(Cost(0, 0, 0, 0), Cost(0, 0, 0, 0), unexplained=0)})
    assert {(figure.name, figure.value, figure.limit) for figure in told.figures} >= {
        ("DynamoDB requests a payment (the dummy's own apart)", 0, 3),
        ("write units of a payment of one product", 0, 8),
    }


def test_a_refused_write_is_charged_as_if_it_were_made(dynamodb: DynamoDBClient) -> None:
    dynamodb.put_item(TableName="OrdersTable", Item=KEY)
    with (
        metering(dynamodb, dynamodb_eye()) as meter,
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


def test_nothing_is_metered_once_the_block_is_left(dynamodb: DynamoDBClient) -> None:
    with metering(dynamodb, dynamodb_eye()) as meter:
        dynamodb.get_item(TableName="OrdersTable", Key=KEY)
    dynamodb.get_item(TableName="OrdersTable", Key=KEY)
    assert [request.operation for request in meter.requests] == ["GetItem"]


def test_dynamodb_local_is_known_to_count_transactions_wrongly() -> None:
    charges = [Charge("orders", 2, 1), Charge("products", 2, 0), Charge("products", 2, 0), Charge("products", 4, 0)]
    assert reported_locally(charges, transacted=False) == 11
    # The two writes of the same price in one table are counted once.
    assert reported_locally(charges, transacted=True) == 2 * (2 + 2 + 4) + 4 * 1


def dynamodb_eye() -> DynamoDBClient:
    """A client that nobody watches."""
    return boto3.client("dynamodb")
