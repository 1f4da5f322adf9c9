"""The products table, with one method for each access pattern."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from order_payments.domain.errors import Busy, InvalidRequest, PreconditionFailed, ProductNotFound, StockBelowReserved
from order_payments.domain.products import MAXIMUM_STOCK, Product, faults_in_offer, faults_in_stock, is_product_id
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger
from order_payments.runtime.retry_budgets import retry_until
from order_payments.storage.dynamodb import (
    ConditionFailed,
    Item,
    TransactionConflict,
    WriteOutcomeUnknown,
    batch_get,
    from_wire,
    to_wire,
    translate_read_errors,
    translate_write_errors,
)
from order_payments.storage.paging import Page

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

PRODUCT_PAGE_LIMIT_SECONDS = 6.0

Precondition = Callable[[Product | None], bool]
"""Returns whether a write is still wanted, given the product for sale, or None if there is none."""

_IS_NUMBER = "attribute_type({}, :number)"
_CAN_SELL = (
    f"{_IS_NUMBER.format('stock')} AND ("
    f"({_IS_NUMBER.format('available')} AND available >= :quantity AND available <= stock)"
    " OR (attribute_not_exists(available) AND stock >= :quantity))"
)
"""Checks types, because DynamoDB rejects a whole transaction if one of its updates calculates with a string."""

_HAS_HOLD = f"{_IS_NUMBER.format('available')} AND available < stock"
"""Does not notice a missing hold while another payment holds units of the product: a condition cannot calculate."""

_OFFER = ("name", "unitPrice", "currency")
_STOCK = ("stock", "available")
_MAX_LOGGED_ID_LENGTH = 200


class InvalidProductItem(Exception):
    """An item of the products table that is not a valid product. `faults` has the reasons, and quotes no value."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class ProductsTable:
    """Products by `productId`.

    The stock methods return a write for a transaction that also changes an order: stock never moves alone. A
    transaction has one write per product, with the total quantity.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def get(self, product_id: str) -> Product:
        """Return the product by a strongly consistent read. Raises `ProductNotFound`."""
        product = _for_sale(self._read(product_id))
        if product is None:
            raise ProductNotFound("There is no such product.")
        return product

    def _read(self, product_id: str) -> Item | None:
        if not is_product_id(product_id):
            return None
        with translate_read_errors():
            item = self._client.get_item(TableName=self._table_name, Key=_key(product_id), ConsistentRead=True).get(
                "Item"
            )
        return from_wire(item) if item else None

    def get_many(self, product_ids: Iterable[str]) -> dict[str, Product]:
        """Return those of up to 100 products that exist, by id."""
        keys = [_key(product_id) for product_id in product_ids]
        items = batch_get(
            self._client, self._table_name, keys, deadline=Deadline.after(retry_budgets.PRODUCT_BUDGET_SECONDS)
        )
        return {product.product_id: product for product in filter(None, map(_for_sale, items))}

    def page(self, *, limit: int, after: tuple[str, ...] | None) -> Page[Product]:
        """Return up to `limit` current products after the key `after`, in DynamoDB's own, stable order.

        A page has fewer products if many items are not for sale. Raises `Busy` if these leave no key to continue from.
        """
        found: list[Product] = []
        start: dict[str, Any] = {"ExclusiveStartKey": _key(*after)} if after else {}
        deadline = Deadline.after(retry_budgets.PRODUCT_BUDGET_SECONDS)
        final_deadline = Deadline.after(PRODUCT_PAGE_LIMIT_SECONDS)
        last_id: str | None = None
        while True:
            with translate_read_errors():
                response = self._client.scan(
                    TableName=self._table_name, ConsistentRead=True, Limit=limit + 1 - len(found), **start
                )
            items = [from_wire(item) for item in response["Items"]]
            found += filter(None, map(_for_sale, items))
            # A cursor has the form of a product id, which the keys of other services' items may not have.
            last_id = next((item["productId"] for item in reversed(items) if is_product_id(item["productId"])), last_id)
            if len(found) > limit:
                return Page(found[:limit], last=(found[limit - 1].product_id,))
            if "LastEvaluatedKey" not in response:
                return Page(found, last=None)
            if deadline.remaining() < 0 and last_id is not None:
                # Many items are not for sale. The client continues from here.
                return Page(found, last=(last_id,))
            if final_deadline.remaining() < 0:
                raise Busy("The table has too many items that are not products.")
            start = {"ExclusiveStartKey": response["LastEvaluatedKey"]}

    def put(
        self,
        product_id: str,
        *,
        name: str,
        unit_price: int,
        currency: str,
        stock: int | None = None,
        precondition: Precondition | None = None,
        count_held: Callable[[str], int] = lambda _: 0,
    ) -> Product:
        """Create the product or update it. Without `stock`, its stock is unchanged. Held units stay held.

        Each write requires that the attributes it was computed from are unchanged, because a condition cannot
        calculate. If a payment moved the stock meanwhile, the item is read again.

        `count_held` returns how many units payments in flight hold. It is called if the item does not contain that
        number: a new item, one without `available`, and an invalid product, which this write repairs. While the stored
        figures are invalid, no payment can hold more units.

        Raises
        ------
        InvalidRequest
            `stock` is missing, and no valid stock is stored.
        PreconditionFailed
            `precondition` returned false.
        StockBelowReserved
            Payments in flight hold more than `stock`.
        """
        written: Product | None = None
        for _ in retry_until(Deadline.after(retry_budgets.PRODUCT_BUDGET_SECONDS)):
            item = self._read(product_id)
            before = _product_or_none(item)
            if written is not None and before == written:
                # botocore retried a write whose response was lost, and the retry failed on the first one's result.
                return written
            if precondition is not None and not precondition(before):
                raise PreconditionFailed("The product does not meet the precondition. Read it again.")
            new_stock = _stock_to_keep(item) if stock is None else stock
            if new_stock is None:
                raise InvalidRequest(
                    "`stock` is required for a new product, and if the stored stock is invalid.", field="stock"
                )
            is_hold_known = before is not None and item is not None and "available" in item
            reserved = _reserved_in(item)
            if reserved is None:
                reserved = count_held(product_id)
            if new_stock < reserved:
                raise StockBelowReserved(f"Payments in flight hold {reserved} units of this product.")
            if item is not None and before is None:
                logger.warning("invalid product item replaced", productId=product_id, held=reserved)
            written = Product(product_id, name, unit_price, currency, new_stock, new_stock - reserved)
            with_stock = stock is not None or not is_hold_known
            unchanged = (*_OFFER, *_STOCK) if precondition is not None else _STOCK if with_stock else ()
            try:
                return self._write(item, written, with_stock=with_stock, unchanged=unchanged)
            except (ConditionFailed, TransactionConflict, InvalidProductItem):
                continue
            except WriteOutcomeUnknown:
                raise Busy("The database does not respond. Try again.") from None
        raise Busy("Too many payments are changing this product's stock. Try again.")

    def _write(self, item: Item | None, after: Product, *, with_stock: bool, unchanged: Iterable[str]) -> Product:
        """Write `after` if the attributes `unchanged` are still those of `item`, and return the stored product.

        A write without stock succeeds even if payments moved the stock meanwhile.
        """
        values = product_to_item(after)
        written = {name: values[name] for name in ((*_OFFER, *_STOCK) if with_stock else _OFFER)}
        conditions = ["attribute_not_exists(productId)" if item is None else "attribute_exists(productId)"]
        conditions += [] if with_stock else ["attribute_exists(available)"]
        guard = _unchanged(item or {}, unchanged)
        with translate_write_errors():
            stored = self._client.update_item(
                TableName=self._table_name,
                Key=_key(after.product_id),
                UpdateExpression=f"SET {', '.join(f'#{name} = :{name}' for name in written)}",
                ConditionExpression=" AND ".join([*conditions, *guard.conditions]),
                ExpressionAttributeNames={f"#{name}": name for name in {*written, *guard.names}},
                ExpressionAttributeValues=to_wire({f":{name}": written[name] for name in written} | guard.values),
                ReturnValues="ALL_NEW",
            )
        return product_from_item(from_wire(stored["Attributes"]))

    def adjust(self, product_id: str, change: int) -> "tuple[Product, TransactWriteItemTypeDef]":
        """Return the product with `change` more units, and its write, which fails if the product changes meanwhile.

        Raises
        ------
        ProductNotFound
            The product does not exist, or its item is invalid.
        StockBelowReserved
            Payments in flight hold more than the new stock.
        InvalidRequest
            The stock would exceed `MAXIMUM_STOCK`.
        """
        item = self._read(product_id)
        before = _for_sale(item)
        if item is None or before is None:
            raise ProductNotFound("There is no such product.")
        after = replace(before, stock=before.stock + change, available=before.available + change)
        if after.available < 0:
            raise StockBelowReserved(
                f"The stock is {before.stock}, and payments in flight hold {before.reserved} of it."
            )
        if after.stock > MAXIMUM_STOCK:
            raise InvalidRequest(f"The stock would exceed {MAXIMUM_STOCK}.", field="change")
        guard = _unchanged(item, (*_OFFER, *_STOCK))
        return after, {
            "Update": {
                "TableName": self._table_name,
                "Key": _key(product_id),
                "UpdateExpression": "SET #stock = :stock, #available = :available",
                "ConditionExpression": " AND ".join(guard.conditions),
                "ExpressionAttributeNames": {f"#{name}": name for name in guard.names},
                "ExpressionAttributeValues": to_wire(
                    {":stock": after.stock, ":available": after.available} | guard.values
                ),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def hold(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Hold `quantity` units for a payment if they are available, so that two orders cannot sell the last unit.

        A product that another service wrote with `stock` alone counts as fully available.
        """
        update = "SET available = if_not_exists(available, stock) - :quantity"
        return self._move(product_id, quantity, update, _CAN_SELL)

    def take(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Turn a hold into a reduction of the stock after a successful payment."""
        is_held = f"(attribute_not_exists(available) OR ({_HAS_HOLD}))"
        condition = f"{_IS_NUMBER.format('stock')} AND stock >= :quantity AND {is_held}"
        return self._move(product_id, quantity, "SET stock = stock - :quantity", condition)

    def sell(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Reduce the stock without an earlier hold, as when an admin confirms an order."""
        update = "SET available = if_not_exists(available, stock) - :quantity, stock = stock - :quantity"
        return self._move(product_id, quantity, update, _CAN_SELL)

    def release(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Release a hold after a failed payment. The condition prevents it from creating a deleted product."""
        condition = f"{_IS_NUMBER.format('stock')} AND {_HAS_HOLD}"
        return self._move(product_id, quantity, "SET available = available + :quantity", condition)

    def restock(self, product_id: str, quantity: int) -> "TransactWriteItemTypeDef":
        """Put returned units back on the shelf. The condition fails for a deleted or invalid product."""
        update = "SET available = if_not_exists(available, stock) + :quantity, stock = stock + :quantity"
        is_valid = (
            f"{_IS_NUMBER.format('stock')} AND stock <= :highest AND (attribute_not_exists(available)"
            f" OR ({_IS_NUMBER.format('available')} AND available <= stock))"
        )
        return self._move(product_id, quantity, update, is_valid, highest=MAXIMUM_STOCK - quantity)

    def _move(
        self, product_id: str, quantity: int, update: str, condition: str, **values: int
    ) -> "TransactWriteItemTypeDef":
        return {
            "Update": {
                "TableName": self._table_name,
                "Key": _key(product_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": to_wire(
                    {":quantity": quantity, ":number": "N"} | {f":{name}": value for name, value in values.items()}
                ),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


class _Unchanged(NamedTuple):
    """The conditions that attributes are unchanged since an item was read, with their names and values."""

    conditions: list[str]
    names: tuple[str, ...]
    values: dict[str, Any]


def _unchanged(item: Item, names: Iterable[str]) -> _Unchanged:
    names = tuple(names)
    return _Unchanged(
        [f"#{name} = :{name}_before" if name in item else f"attribute_not_exists(#{name})" for name in names],
        names,
        {f":{name}_before": item[name] for name in names if name in item},
    )


def stock_in(item: Item) -> tuple[int, int] | None:
    """Return `stock` and `available` of a product item, or None if either is not a whole number.

    A product that another service wrote with `stock` alone is fully available.
    """
    stock = _whole_number(item.get("stock"))
    available = _whole_number(item["available"]) if "available" in item else stock
    return None if stock is None or available is None else (stock, available)


def product_from_item(item: Item) -> Product:
    """Return the product that `item` stores. Raises `InvalidProductItem`.

    This is the only reader of product items: an item that it refuses is not for sale.
    """
    product_id, name, currency = (item.get(attribute) for attribute in ("productId", "name", "currency"))
    unit_price, numbers = _whole_number(item.get("unitPrice")), stock_in(item)
    faults = [] if is_product_id(str(product_id)) else ["productId does not have the form of an id"]
    faults += faults_in_offer(name, unit_price, currency)
    faults += faults_in_stock(*numbers) if numbers else ["stock and available must be whole numbers"]
    if faults or unit_price is None or numbers is None:
        raise InvalidProductItem(faults)
    return Product(str(product_id), str(name), unit_price, str(currency), *numbers)


def is_product_item(item: Item) -> bool:
    """Return whether `item` is meant to be a product. Other items in the table belong to other services.

    Ids with `#` are reserved for items that are part of a product.
    """
    return bool(item.keys() & {"name", "unitPrice", *_STOCK}) and "#" not in str(item.get("productId"))


def _product_or_none(item: Item | None) -> Product | None:
    try:
        return product_from_item(item) if item is not None else None
    except InvalidProductItem:
        return None


def _for_sale(item: Item | None) -> Product | None:
    """Return the product that `item` stores, or None if it is not for sale. Log an invalid product for repair."""
    if item is None or not is_product_item(item):
        return None
    try:
        return product_from_item(item)
    except InvalidProductItem as invalid:
        product_id = str(item.get("productId"))[:_MAX_LOGGED_ID_LENGTH]
        logger.error("invalid product item", productId=product_id, faults=invalid.faults)
        count(Count.MISMATCH)
        return None


def _reserved_in(item: Item | None) -> int | None:
    """Return how many units payments hold if the stock figures are valid, else None. Other fields may be invalid."""
    numbers = stock_in(item) if item and "available" in item else None
    return None if numbers is None or any(faults_in_stock(*numbers)) else numbers[0] - numbers[1]


def _stock_to_keep(item: Item | None) -> int | None:
    """Return the stored stock if it is valid, else None."""
    stock = _whole_number((item or {}).get("stock"))
    return None if stock is None or any(faults_in_stock(stock, stock)) else stock


def product_to_item(product: Product) -> Item:
    """Return the item that stores the product."""
    return {
        "productId": product.product_id,
        "name": product.name,
        "unitPrice": product.unit_price,
        "currency": product.currency,
        "stock": product.stock,
        "available": product.available,
    }


def _whole_number(value: object) -> int | None:
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else None


def _key(product_id: str) -> dict[str, Any]:
    return to_wire({"productId": product_id})
