"""The products table: every access pattern on products, one method each."""

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeGuard

from order_payments.clock import Deadline
from order_payments.dynamodb import (
    ConditionFailed,
    Contended,
    Item,
    ReplyLost,
    batch_get,
    from_wire,
    reading,
    to_wire,
    tries,
    writing,
)
from order_payments.errors import Busy, ProductNotFound, StockBelowReserved
from order_payments.paging import Page
from order_payments.products import Product, is_product_id

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

BUDGET_SECONDS = 3.0


class ProductsTable:
    """Products by `productId`.

    The stock methods return a write for a transaction that also moves an order: stock never moves alone. Each names
    the product once with the quantity it wants in all.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def get(self, product_id: str) -> Product:
        """The product as it is now. Raises `ProductNotFound`."""
        item = self._read(product_id)
        if item is None or not _is_whole(item):
            raise ProductNotFound("There is no such product.")
        return _product(item)

    def _read(self, product_id: str) -> Item | None:
        if not is_product_id(product_id):
            return None
        with reading():
            item = self._client.get_item(TableName=self._table_name, Key=_key(product_id), ConsistentRead=True).get(
                "Item"
            )
        return from_wire(item) if item else None

    def get_many(self, product_ids: Iterable[str]) -> dict[str, Product]:
        """Those of up to 100 products that exist, by id."""
        keys = [_key(product_id) for product_id in product_ids]
        items = batch_get(self._client, self._table_name, keys, deadline=Deadline.after(BUDGET_SECONDS))
        return {item["productId"]: _product(item) for item in items if _is_whole(item)}

    def page(self, *, limit: int, after: tuple[str, ...] | None) -> Page[Product]:
        """Up to `limit` products as they are now, in an order of DynamoDB's own that stays, from behind `after`."""
        found: list[Product] = []
        start: dict[str, Any] = {"ExclusiveStartKey": _key(*after)} if after else {}
        deadline = Deadline.after(BUDGET_SECONDS)
        while True:
            with reading():
                answer = self._client.scan(
                    TableName=self._table_name, ConsistentRead=True, Limit=limit + 1 - len(found), **start
                )
            found += [_product(item) for item in map(from_wire, answer["Items"]) if _is_whole(item)]
            if len(found) > limit:
                return Page(found[:limit], last=(found[limit - 1].product_id,))
            if "LastEvaluatedKey" not in answer:
                return Page(found, last=None)
            if deadline.remaining() < 0:
                # There are many that cannot be shown. Whoever asks goes on from here.
                return Page(found, last=(from_wire(answer["LastEvaluatedKey"])["productId"],))
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def put(self, product_id: str, *, name: str, unit_price: int, currency: str, stock: int) -> Product:
        """Create the product, or set what is given; what payments hold stays held. Raises `StockBelowReserved`.

        `available` follows from what it was, and a condition cannot calculate: so it is written on the condition
        that the stock is still as it was read, and read again where a payment moved it in between.
        """
        for _ in tries(Deadline.after(BUDGET_SECONDS)):
            before = self._read(product_id)
            reserved = int(before["stock"]) - available_in(before) if before else 0
            if stock < reserved:
                raise StockBelowReserved(f"Payments in flight hold {reserved} of this product.")
            product = Product(product_id, name, unit_price, currency, stock, stock - reserved)
            try:
                self._replace(before, product)
            except (ConditionFailed, Contended):
                continue
            except ReplyLost:
                raise Busy("The database does not answer.") from None
            return product
        raise Busy("Too many payments move the stock of this product.")

    def _replace(self, before: Item | None, after: Product) -> None:
        if before is None:
            condition, expected = "attribute_not_exists(productId)", {}
        else:
            condition = "stock = :stock_before AND (available = :available_before OR attribute_not_exists(available))"
            expected = {":stock_before": before["stock"], ":available_before": available_in(before)}
        with writing():
            self._client.update_item(
                TableName=self._table_name,
                Key=_key(after.product_id),
                UpdateExpression=(
                    "SET #name = :name, unitPrice = :unit_price, currency = :currency,"
                    " stock = :stock, available = :available"
                ),
                ConditionExpression=condition,
                ExpressionAttributeNames={"#name": "name"},
                ExpressionAttributeValues=to_wire(
                    {
                        ":name": after.name,
                        ":unit_price": after.unit_price,
                        ":currency": after.currency,
                        ":stock": after.stock,
                        ":available": after.available,
                        **expected,
                    }
                ),
            )

    def hold(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Set `quantity` aside for a payment, if so much can be sold. Without it two orders sell the last unit.

        A product that another service wrote with `stock` alone counts as wholly available.
        """
        return self._move(
            product_id,
            quantity,
            update="SET available = if_not_exists(available, stock) - :quantity",
            condition="available >= :quantity OR (attribute_not_exists(available) AND stock >= :quantity)",
        )

    def take(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Make a hold a reduction of the stock: the payment succeeded."""
        return self._move(product_id, quantity, update="SET stock = stock - :quantity", condition="stock >= :quantity")

    def sell(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Reduce the stock without a hold before it, as an admin does who confirms an order by hand."""
        return self._move(
            product_id,
            quantity,
            update="SET available = if_not_exists(available, stock) - :quantity, stock = stock - :quantity",
            condition="available >= :quantity OR (attribute_not_exists(available) AND stock >= :quantity)",
        )

    def release(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Give a hold back: the payment failed. The condition keeps it from creating a product that is gone."""
        return self._move(
            product_id,
            quantity,
            update="SET available = available + :quantity",
            condition="attribute_exists(available)",
        )

    def _move(self, product_id: str, quantity: int, *, update: str, condition: str) -> "TransactWriteItemTypeDef":
        return {
            "Update": {
                "TableName": self._table_name,
                "Key": _key(product_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": to_wire({":quantity": quantity}),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def available_in(item: Item | None) -> int:
    """What can still be sold of the product that `item` stores; nothing of one that does not exist."""
    return int(item["available"] if "available" in item else item["stock"]) if item else 0


def stock_in(item: Item) -> tuple[int, int] | None:
    """Return `stock` and `available` of a product item; None if either is not a whole number.

    A product that another service wrote with `stock` alone is wholly available.
    """
    stock = item.get("stock")
    available = item.get("available", stock)
    if not (_is_whole_number(stock) and _is_whole_number(available)):
        return None
    return int(stock), int(available)


def _is_whole_number(value: object) -> TypeGuard[Decimal]:
    return isinstance(value, Decimal) and value == value.to_integral_value()


def _key(product_id: str) -> dict[str, Any]:
    return to_wire({"productId": product_id})


def _is_whole(item: Item) -> bool:
    """Whether it can be sold: another service may know of no more than its stock."""
    return {"name", "unitPrice", "currency", "stock"} <= item.keys() and is_product_id(item["productId"])


def _product(item: Item) -> Product:
    return Product(
        product_id=item["productId"],
        name=item["name"],
        unit_price=int(item["unitPrice"]),
        currency=item["currency"],
        stock=int(item["stock"]),
        available=available_in(item),
    )
