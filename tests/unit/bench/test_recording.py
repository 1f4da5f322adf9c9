"""Recorded requests are replayed for another order."""

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from bench.recording import Call, recording, rewrite_for_order
from bench.service import Service, call
from bench.warm import replay
from order_payments.storage.dynamodb import from_wire

OLD, NEW = "ord_" + "a" * 32, "ord_" + "b" * 32


def test_requests_are_recorded_within_the_block(dynamodb: DynamoDBClient) -> None:
    key = {"orderId": {"S": OLD}}
    with recording(dynamodb) as recorded:
        dynamodb.get_item(TableName="OrdersTable", Key=key)
    dynamodb.get_item(TableName="OrdersTable", Key=key)
    key["orderId"]["S"] = "changed later"
    assert recorded == [Call("get_item", {"TableName": "OrdersTable", "Key": {"orderId": {"S": OLD}}})]


def test_ids_are_replaced_consistently_with_the_same_length() -> None:
    intent = "pi_3" + "Q" * 24
    calls = [
        Call(
            "put_item", {"Item": {"id": {"S": intent}, "body": {"S": f'{{"secret":"{intent}_secret_x","o":"{OLD}"}}'}}}
        ),
        Call("get_item", {"Key": {"id": {"S": intent}}}),
    ]
    put, get = rewrite_for_order(calls, NEW)
    fresh = get.parameters["Key"]["id"]["S"]
    assert fresh != intent
    assert (fresh[:3], len(fresh)) == ("pi_", len(intent))
    assert put.parameters["Item"] == {"id": {"S": fresh}, "body": {"S": f'{{"secret":"{fresh}_secret_x","o":"{NEW}"}}'}}
    assert calls[1].parameters["Key"]["id"]["S"] == intent


def test_replayed_payment_pays_another_order(dynamodb: DynamoDBClient) -> None:
    service = Service("", dynamodb)
    service.put_products(["green-tea"], stock=10)
    function = service.function("initiate_payment")
    paid, replayed = service.place_orders(2, ["green-tea"])
    with recording(function.client) as recorded:
        call(function, service.event("initiate_payment", orderId=paid.order_id), expected=200)
    replay(boto3.client("dynamodb"), rewrite_for_order(recorded, replayed.order_id))

    items = [
        from_wire(dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order.order_id}})["Item"])
        for order in (paid, replayed)
    ]
    assert [item["status"] for item in items] == ["confirmed", "confirmed"]
    assert items[0]["payment"]["attemptId"] != items[1]["payment"]["attemptId"]
    product = dynamodb.get_item(TableName="ProductsTable", Key={"productId": {"S": "green-tea"}})["Item"]
    assert from_wire(product)["stock"] == 10 - 2 - 2
