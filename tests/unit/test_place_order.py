"""Two concurrent requests with one idempotency key, which the contract tests cannot time."""

import hashlib
import json
from types import ModuleType

import pytest

from harness.functions import FunctionResponse, call, event_for, load_function
from order_payments import place_order
from order_payments.place_order import OrderedItem, PlaceOrderRequest
from order_payments.runtime.clock import utc_now
from tests.support.function_shop import FunctionShop


@pytest.fixture
def function(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> ModuleType:  # noqa: ARG001 - needs tables
    """Return the function with a stopped clock, where no request finds the order that another one placed."""
    now = utc_now()
    monkeypatch.setattr(place_order, "utc_now", lambda: now)
    monkeypatch.setattr(place_order, "find_placed", lambda *_: None)
    return load_function("create_order")


def place(function: ModuleType, product: str, quantity: int, request_id: str) -> FunctionResponse:
    body = json.dumps({"items": [{"productId": product, "quantity": quantity}]})
    return call(function, event_for("POST /orders", body=body, headers={"Idempotency-Key": "k"}, requestId=request_id))


def test_concurrent_repeated_request_returns_the_first_order(shop: FunctionShop, function: ModuleType) -> None:
    product = shop.add_product()

    first, second = place(function, product, 1, "r-1"), place(function, product, 1, "r-2")

    assert (first.status, second.status) == (201, 201)
    assert second.body == first.body
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"


def test_concurrent_different_request_with_the_same_key_is_refused(shop: FunctionShop, function: ModuleType) -> None:
    product = shop.add_product()

    first, second = place(function, product, 1, "r-1"), place(function, product, 3, "r-2")

    assert (second.status, second.body["code"]) == (409, "idempotency_key_reused")
    assert shop.status(first.body["orderId"])["totalAmount"] == first.body["totalAmount"]


def test_write_retried_by_botocore_returns_its_own_order(shop: FunctionShop, function: ModuleType) -> None:
    product = shop.add_product()

    responses = [place(function, product, 1, "r-1") for _ in range(2)]

    assert [response.status for response in responses] == [201, 201]
    assert not ["Idempotent-Replayed" for response in responses if "Idempotent-Replayed" in response.headers]


def test_fingerprint_equals_the_one_stored_by_earlier_releases() -> None:
    """Earlier releases hashed the JSON of the request model, and a client may repeat a request after an update."""
    request = PlaceOrderRequest("alice", [OrderedItem('caf\u00e9 "1"', 2), OrderedItem("tea", 10_000)], "r-1", "k")

    stored = '{"items":[{"product_id":"caf\u00e9 \\"1\\"","quantity":2},{"product_id":"tea","quantity":10000}]}'
    assert request.fingerprint == hashlib.sha256(stored.encode()).hexdigest()
