"""Product items that another service wrote: which are for sale, which are invalid, and their repair by `PUT`."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.audit.tables import AuditedTables, Held
from order_payments.domain.products import Product
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline
from order_payments.storage.dynamodb import TransactionRefused, to_wire, write_transaction
from order_payments.storage.products_table import InvalidProductItem, ProductsTable, product_from_item
from tests.support.auditor import Auditor, write_product
from tests.support.function_shop import FunctionShop
from tests.support.metrics import metrics_in
from tests.support.shop import ADMIN, ALICE, Reply, Stock

OFFER = {"name": "Tea", "unitPrice": 450, "currency": "usd"}
VALID: dict[str, Any] = {"productId": "tea", **OFFER, "stock": 5, "available": 3}
UNKNOWN_OUTCOME = "pm_dummy_timeout_after_charge"

INVALID: dict[str, dict[str, Any]] = {
    "no name": {"name": None},
    "name a number": {"name": 5},
    "empty name": {"name": ""},
    "name of two lines": {"name": "two\nlines"},
    "name of 100 kB": {"name": "x" * 100_000},
    "no price": {"unitPrice": None},
    "price a text": {"unitPrice": "450"},
    "price a fraction": {"unitPrice": Decimal("45.99")},
    "price negative": {"unitPrice": -450},
    "price zero": {"unitPrice": 0},
    "price huge": {"unitPrice": 10**30},
    "price a boolean": {"unitPrice": True},
    "no currency": {"currency": None},
    "unknown currency": {"currency": "zzz"},
    "currency a list": {"currency": ["usd"]},
    "no stock": {"stock": None},
    "stock a text": {"stock": "5"},
    "stock a fraction": {"stock": Decimal("5.5")},
    "stock negative": {"stock": -1, "available": -1},
    "stock huge": {"stock": 10**9 + 1},
    "available a text": {"available": "3"},
    "available a fraction": {"available": Decimal("1.5")},
    "available negative": {"available": -1},
    "available above stock": {"available": 6},
    "available a list": {"available": [3]},
}


def item_with(changes: dict[str, Any], product_id: str = "tea") -> dict[str, Any]:
    """Return a valid product item with changes; None removes an attribute."""
    item = {**VALID, **changes, "productId": product_id}
    return {name: value for name, value in item.items() if value is not None}


def write(shop: FunctionShop, item: dict[str, Any]) -> None:
    shop.dynamodb.put_item(TableName="ProductsTable", Item=to_wire(item))


def put(shop: FunctionShop, product: str, **stock: int) -> Reply:
    return shop.call("PUT", f"/admin/products/{product}", ADMIN, OFFER | stock)


def listed_ids(shop: FunctionShop) -> list[str]:
    return [product["productId"] for page in shop.pages("products", ALICE, limit=2) for product in page]


@pytest.mark.parametrize("case", INVALID)
def test_invalid_item_is_not_for_sale(shop: FunctionShop, case: str) -> None:
    good = shop.add_product()
    write(shop, item_with(INVALID[case]))

    assert shop.call("GET", "/products/tea", ALICE).code == "product_not_found"
    assert listed_ids(shop) == [good]
    order = shop.call("POST", "/orders", ALICE, {"items": [{"productId": "tea", "quantity": 1}]})
    assert order.code == "unknown_product"
    adjustment = {"change": 1, "reason": "Found."}
    assert shop.call("POST", "/admin/products/tea/stock-adjustments", ADMIN, adjustment).code == "product_not_found"


@pytest.mark.parametrize("case", INVALID)
def test_put_with_a_stock_repairs_an_invalid_item(shop: FunctionShop, case: str) -> None:
    write(shop, item_with(INVALID[case]))

    reply = put(shop, "tea", stock=20)

    # No order holds units. Valid numbers are kept nevertheless, because payments may change them at any time.
    reserved = 0 if INVALID[case].keys() & {"stock", "available"} else 2
    assert reply.status == 200
    assert shop.stock("tea") == Stock(stock=20, reserved=reserved, available=20 - reserved)


def test_invalid_item_is_reported_once_per_read(
    shop: FunctionShop, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    write(shop, item_with({"unitPrice": "sk_test_pasted_here"}))
    shop.call("GET", "/products/tea", ALICE)

    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert vars(record)["productId"] == "tea"
    assert [fault.split()[0] for fault in vars(record)["faults"]] == ["unitPrice"]
    assert "sk_test_pasted_here" not in str(vars(record))
    assert metrics_in(capsys.readouterr().out)["Mismatch"] == [1.0]


@pytest.mark.parametrize(
    "item",
    [{"productId": "gift-card", "note": "sold elsewhere"}, item_with({"unitPrice": "x"}, "tea#01")],
    ids=["no product attributes", "reserved id"],
)
def test_item_that_is_not_a_product_is_skipped_without_an_error(
    shop: FunctionShop, caplog: pytest.LogCaptureFixture, item: dict[str, Any]
) -> None:
    write(shop, item)

    assert listed_ids(shop) == []
    assert shop.call("GET", f"/products/{item['productId'].replace('#', '%23')}", ALICE).code == "product_not_found"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_lot_of_a_product_cannot_be_ordered(shop: FunctionShop) -> None:
    write(shop, item_with({}, "tea#01"))

    order = shop.call("POST", "/orders", ALICE, {"items": [{"productId": "tea#01", "quantity": 1}]})

    assert order.code == "unknown_product"


def test_product_without_available_has_its_whole_stock_available() -> None:
    item = {name: Decimal(v) if isinstance(v, int) else v for name, v in item_with({"available": None}).items()}

    assert product_from_item(item) == Product("tea", "Tea", 450, "usd", 5, 5)


def test_invalid_item_is_reported_with_all_its_faults() -> None:
    with pytest.raises(InvalidProductItem) as invalid:
        product_from_item({"productId": "-tea"})

    assert [fault.split()[0] for fault in invalid.value.faults] == [
        "productId",
        "name",
        "unitPrice",
        "currency",
        "stock",
    ]


@pytest.mark.parametrize(("limit", "others"), [(2, 30), (20, 60)])
def test_page_of_invalid_items_has_a_cursor_to_the_next_page(
    shop: FunctionShop, monkeypatch: pytest.MonkeyPatch, limit: int, others: int
) -> None:
    for number in range(others):
        write(shop, item_with({"unitPrice": None}, f"part {number}" if number % 2 else f"part-{number}"))
    good = {shop.add_product() for _ in range(3)}
    # Each page's time is up after one read.
    monkeypatch.setattr(retry_budgets, "PRODUCT_BUDGET_SECONDS", -1)

    pages = shop.pages("products", ALICE, limit=limit)

    assert {product["productId"] for page in pages for product in page} == good


@pytest.mark.parametrize(
    ("changes", "body", "after"),
    [
        ({"available": 10, "stock": 4}, {"stock": 20}, Stock(20, 2, 18)),
        ({"available": 10, "stock": 4}, {}, Stock(4, 2, 2)),
        ({"available": None}, {}, Stock(5, 2, 3)),
        ({"available": "3"}, {}, Stock(5, 2, 3)),
        ({"unitPrice": None}, {}, Stock(5, 2, 3)),
        ({"name": None, "unitPrice": None, "currency": None, "available": None, "stock": 9}, {}, Stock(9, 2, 7)),
        ({"stock": "5"}, {"stock": 5}, Stock(5, 2, 3)),
        ({"stock": None, "available": None}, {"stock": 2}, Stock(2, 2, 0)),
    ],
    ids=["above stock", "kept stock", "no available", "text", "no price", "stock only", "stock text", "no stock"],
)
def test_repair_by_put_keeps_the_units_that_payments_hold(
    shop: FunctionShop, changes: dict[str, Any], body: dict[str, int], after: Stock
) -> None:
    shop.add_product(product_id="tea", stock=5)
    shop.pay(shop.order(("tea", 2)), UNKNOWN_OUTCOME)
    write(shop, item_with(changes))

    reply = put(shop, "tea", **body)

    assert reply.status == 200, reply
    assert shop.stock("tea") == after


def test_deleted_product_is_put_again_with_its_held_units(shop: FunctionShop) -> None:
    shop.add_product(product_id="tea", stock=5)
    shop.pay(shop.order(("tea", 2)), UNKNOWN_OUTCOME)
    shop.remove_product("tea")

    assert put(shop, "tea", stock=1).code == "stock_below_reserved"
    assert put(shop, "tea", stock=5).status == 200
    assert shop.stock("tea") == Stock(5, 2, 3)


def test_new_product_takes_one_request_to_count_holds(dynamodb: DynamoDBClient) -> None:
    orders = AuditedTables(dynamodb, "OrdersTable", "ProductsTable")
    requests: list[str] = []
    dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: requests.append(model.name))

    ProductsTable(dynamodb, "ProductsTable").put(
        "tea",
        name="Tea",
        unit_price=450,
        currency="usd",
        stock=5,
        count_held=lambda product_id: orders.count_listed_holds().get(product_id, Held()).units,
    )

    assert requests == ["GetItem", "Scan", "UpdateItem"]


@pytest.mark.parametrize("stock", [None, "5", Decimal("1.5"), -1, 10**9 + 1], ids=str)
def test_repair_of_an_invalid_stock_needs_a_stock(shop: FunctionShop, stock: object) -> None:
    write(shop, item_with({"stock": stock}))

    reply = put(shop, "tea")

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["body", "stock"]


def test_repair_below_the_reserved_units_is_refused(shop: FunctionShop) -> None:
    shop.add_product(product_id="tea", stock=5)
    shop.pay(shop.order(("tea", 2)), UNKNOWN_OUTCOME)
    write(shop, item_with({"stock": 1, "available": 5}))

    assert put(shop, "tea").code == "stock_below_reserved"
    assert put(shop, "tea", stock=1).code == "stock_below_reserved"


def test_invalid_item_does_not_match_if_match(shop: FunctionShop) -> None:
    write(shop, item_with({"unitPrice": None}))

    reply = shop.call("PUT", "/admin/products/tea", ADMIN, OFFER | {"stock": 5}, {"If-Match": "*"})

    assert reply.code == "precondition_failed"


@pytest.mark.parametrize("case", INVALID)
def test_stock_move_of_an_invalid_item_fails_only_by_its_condition(dynamodb: DynamoDBClient, case: str) -> None:
    table = ProductsTable(dynamodb, "ProductsTable")
    for move in (table.hold, table.take, table.sell, table.release):
        dynamodb.put_item(TableName="ProductsTable", Item=to_wire(item_with(INVALID[case])))
        with suppress(TransactionRefused):
            write_transaction(dynamodb, [move("tea", 2)], deadline=Deadline.after(5))


@pytest.mark.parametrize("move", ["hold", "sell"])
@pytest.mark.parametrize("numbers", [{"stock": 1, "available": 5}, {"stock": "9"}, {"available": "9"}], ids=str)
def test_units_that_are_not_in_stock_are_not_sold(dynamodb: DynamoDBClient, move: str, numbers: dict[str, Any]) -> None:
    dynamodb.put_item(TableName="ProductsTable", Item=to_wire(item_with(numbers)))
    write = getattr(ProductsTable(dynamodb, "ProductsTable"), move)("tea", 1)

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(TransactItems=[write])


def test_conditional_write_repeated_by_botocore_succeeds(
    dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ProductsTable(dynamodb, "ProductsTable")
    seen = table.put("tea", name="Tea", unit_price=450, currency="usd", stock=5)
    update_item = dynamodb.update_item

    def write_twice(**request: Any) -> Any:
        update_item(**request)
        return update_item(**request)

    monkeypatch.setattr(dynamodb, "update_item", write_twice)

    changed = table.put("tea", name="Tea", unit_price=500, currency="usd", precondition=lambda now: now == seen)

    assert changed == table.get("tea")
    assert changed.unit_price == 500


def test_price_change_does_not_conflict_with_a_concurrent_sale(
    dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ProductsTable(dynamodb, "ProductsTable")
    table.put("tea", name="Tea", unit_price=450, currency="usd", stock=5)
    update_item = dynamodb.update_item
    writes: list[None] = []

    def sell_first(**request: Any) -> Any:
        writes.append(None)
        dynamodb.transact_write_items(TransactItems=[table.sell("tea", 1)])
        return update_item(**request)

    monkeypatch.setattr(dynamodb, "update_item", sell_first)

    product = table.put("tea", name="Tea", unit_price=500, currency="usd")

    assert (product.unit_price, product.stock, product.available) == (500, 4, 4)
    assert len(writes) == 1


def test_documented_repair_of_damaged_stock_ends_in_a_clean_audit(shop: FunctionShop, auditor: Auditor) -> None:
    """docs/recovery.md, "Audit and repair": damage, `PUT`, audit."""
    product = shop.add_product(stock=10)
    shop.pay(shop.order((product, 2)), UNKNOWN_OUTCOME)
    write_product(shop, product, "SET stock = :stock", stock="ten")
    assert auditor.kinds() == ["product_unreadable"]

    assert put(shop, product, stock=10).status == 200

    assert shop.stock(product) == Stock(10, 2, 8)
    assert auditor.kinds() == []
