"""Requests that are written down, to be made again about another order."""

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from bench.recording import Call, about, recording
from bench.service import Service, call
from bench.warm import replay
from order_payments.storage.dynamodb import from_wire

OLD, NEW = "ord_" + "a" * 32, "ord_" + "b" * 32


def test_what_is_asked_is_written_down_as_it_was_given(dynamodb: DynamoDBClient) -> None:
    key = {"orderId": {"S": OLD}}
    with recording(dynamodb) as made:
        dynamodb.get_item(TableName="OrdersTable", Key=key)
    dynamodb.get_item(TableName="OrdersTable", Key=key)
    key["orderId"]["S"] = "changed later"
    assert made == [Call("get_item", {"TableName": "OrdersTable", "Key": {"orderId": {"S": OLD}}})]


def test_ids_become_others_of_the_same_length_the_same_one_everywhere() -> None:
    intent = "pi_3" + "Q" * 24
    calls = [
        Call(
            "put_item", {"Item": {"id": {"S": intent}, "body": {"S": f'{{"secret":"{intent}_secret_x","o":"{OLD}"}}'}}}
        ),
        Call("get_item", {"Key": {"id": {"S": intent}}}),
    ]
    put, get = about(calls, NEW)
    fresh = get.parameters["Key"]["id"]["S"]
    assert fresh != intent
    assert (fresh[:3], len(fresh)) == ("pi_", len(intent))
    assert put.parameters["Item"] == {"id": {"S": fresh}, "body": {"S": f'{{"secret":"{fresh}_secret_x","o":"{NEW}"}}'}}
    assert calls[1].parameters["Key"]["id"]["S"] == intent


def test_a_recorded_payment_pays_another_order(dynamodb: DynamoDBClient) -> None:
    service = Service("", dynamodb)
    service.put_products(["green-tea"], stock=10)
    function = service.function("initiate_payment")
    paid, replayed = service.place_orders(2, ["green-tea"])
    with recording(function.client) as made:
        call(function, service.event("initiate_payment", orderId=paid.order_id), expected=200)
    replay(boto3.client("dynamodb"), about(made, replayed.order_id))

    items = [
        from_wire(dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order.order_id}})["Item"])
        for order in (paid, replayed)
    ]
    assert [item["status"] for item in items] == ["confirmed", "confirmed"]
    assert items[0]["payment"]["attemptId"] != items[1]["payment"]["attemptId"]
    product = dynamodb.get_item(TableName="ProductsTable", Key={"productId": {"S": "green-tea"}})["Item"]
    assert from_wire(product)["stock"] == 10 - 2 - 2
