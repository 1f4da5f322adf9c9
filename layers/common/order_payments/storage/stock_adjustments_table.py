"""Ledger of stock adjustments: who changed a product's stock, by how much, and why."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from order_payments.domain.errors import Busy, IdempotencyKeyReused
from order_payments.domain.idempotency import idempotency_digest
from order_payments.domain.products import Product
from order_payments.runtime.clock import Deadline, rfc3339
from order_payments.runtime.retry_budgets import retry_until
from order_payments.storage.dynamodb import (
    Item,
    TransactionRefused,
    WriteOutcomeUnknown,
    from_wire,
    to_wire,
    translate_read_errors,
    write_transaction,
)
from order_payments.storage.products_table import ProductsTable, product_to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

ADJUSTMENT_RETENTION = timedelta(days=90)
"""Retention of a record and its idempotency key. DynamoDB deletes expired records within days."""


@dataclass(frozen=True, slots=True)
class StockAdjustment:
    """A request to change a product's stock by `change` units."""

    adjustment_id: str
    product_id: str
    change: int
    reason: str
    by: str
    at: datetime
    request_id: str


def adjustment_id_for(admin_id: str, idempotency_key: str | None) -> str:
    """Return the id of an adjustment, derived from the admin's idempotency key if there is one."""
    return f"adj_{idempotency_digest(admin_id, idempotency_key) if idempotency_key else uuid.uuid4().hex}"


class AppliedAdjustment(NamedTuple):
    """The product after an adjustment, and whether an earlier request made it."""

    product: Product
    replayed: bool


class StockAdjustmentsTable:
    """Adjustments by `adjustmentId`. One transaction writes the record and the stock."""

    def __init__(self, client: "DynamoDBClient", table_name: str, products: ProductsTable) -> None:
        self._client = client
        self._table_name = table_name
        self._products = products

    def apply(self, adjustment: StockAdjustment, *, deadline: Deadline) -> AppliedAdjustment:
        """Change the stock and record the reason. For a repeated request, return the recorded product.

        Raises
        ------
        IdempotencyKeyReused
            Another request is recorded under this id.
        ProductNotFound, StockBelowReserved, InvalidRequest
            See `ProductsTable.adjust`. Nothing was written.
        Busy
            Payments moved the stock until `deadline`, or the database does not respond.
        """
        is_first_try = True
        for _ in retry_until(deadline):
            if applied := self._find(adjustment):
                return applied._replace(replayed=is_first_try or applied.replayed)
            is_first_try = False
            product, write = self._products.adjust(adjustment.product_id, adjustment.change)
            try:
                write_transaction(self._client, [self._record(adjustment, product), write], deadline=deadline)
            except TransactionRefused:
                # A concurrent copy of the request was first, or the product changed after it was read.
                continue
            except WriteOutcomeUnknown:
                if applied := self._find(adjustment):
                    return applied
                raise Busy("The database does not respond. Try again.") from None
            return AppliedAdjustment(product, replayed=False)
        raise Busy("Too many payments are changing this product's stock. Try again.")

    def _find(self, adjustment: StockAdjustment) -> AppliedAdjustment | None:
        with translate_read_errors():
            found = self._client.get_item(
                TableName=self._table_name,
                Key=to_wire({"adjustmentId": adjustment.adjustment_id}),
                ConsistentRead=True,
            ).get("Item")
        if found is None:
            return None
        item = from_wire(found)
        if (item["productId"], item["change"], item["reason"]) != (
            adjustment.product_id,
            adjustment.change,
            adjustment.reason,
        ):
            raise IdempotencyKeyReused("This idempotency key was used for another stock adjustment.")
        return AppliedAdjustment(_product_from(item["product"]), replayed=item["requestId"] != adjustment.request_id)

    def _record(self, adjustment: StockAdjustment, product: Product) -> "TransactWriteItemTypeDef":
        item = {
            "adjustmentId": adjustment.adjustment_id,
            "productId": adjustment.product_id,
            "change": adjustment.change,
            "reason": adjustment.reason,
            "by": adjustment.by,
            "at": rfc3339(adjustment.at),
            "requestId": adjustment.request_id,
            "product": product_to_item(product),
            "expiresAt": int((adjustment.at + ADJUSTMENT_RETENTION).timestamp()),
        }
        return {
            "Put": {
                "TableName": self._table_name,
                "Item": to_wire(item),
                "ConditionExpression": "attribute_not_exists(adjustmentId)",
            }
        }


def _product_from(item: Item) -> Product:
    """Return the product of a record, without today's validation: its rules may have been others."""
    unit_price, stock, available = (int(item[name]) for name in ("unitPrice", "stock", "available"))
    return Product(item["productId"], item["name"], unit_price, item["currency"], stock, available)
