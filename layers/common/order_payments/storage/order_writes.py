"""Conditional writes of one order, and the attributes that list it in the `unsettled` index."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from order_payments.domain.orders import Order, OrderStatus, statuses_before
from order_payments.domain.refunds import RefundKind
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_indexes import choose_shard

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

UNSETTLED_SHARDS = tuple(f"unsettled-{number}" for number in range(8))
"""Partition keys of the `unsettled` index. Each takes 1,000 writes per second, and a payment makes two."""

REFUND_SHARDS = ("refund-0", "refund-1")
"""Partition keys of the `unsettled` index for owed and pending refunds. Version 0.1.0 does not read them."""

UNSETTLED_ATTRIBUTES = "unsettledShard, unsettledSince, firstUnsettledSince"
"""The attributes to remove from an order that has nothing left to settle."""

_NAMES = {"#status": "status", "#payment": "payment", "#override": "override"}


class Condition(NamedTuple):
    """A condition on an order, with its values."""

    text: str
    values: Mapping[str, Any] = {}


UNCLAIMED = Condition("attribute_not_exists(#payment)")


def may_become(status: OrderStatus) -> Condition:
    """Return the condition that an order may move to `status`.

    Every condition on an order's status comes from here, so `TRANSITIONS` is the only table of transitions.
    """
    before = {f":before_{number}": before for number, before in enumerate(statuses_before(status))}
    return Condition(f"#status IN ({', '.join(before)})", before)


def is_settled() -> Condition:
    """Return the condition that an order has a final status."""
    is_open = may_become(OrderStatus.CONFIRMED)
    return Condition(f"NOT ({is_open.text})", is_open.values)


def refunds_are_unchanged(order: Order) -> list[Condition]:
    """Return the conditions that an order's refunds are those that were read, also if version 0.1.0 writes them."""
    late = next((refund for refund in order.refunds if refund.kind is RefundKind.LATE_PAYMENT), None)
    if late is None:
        unchanged = Condition("attribute_not_exists(refund)")
    elif late.stripe_refund_id is None:
        unchanged = Condition("attribute_exists(refund) AND attribute_not_exists(refund.refundId)")
    else:
        unchanged = Condition("refund.refundId = :late_refund", {":late_refund": late.stripe_refund_id})
    if not order.refunds_version:
        return [unchanged, Condition("attribute_not_exists(refundsVersion)")]
    return [unchanged, Condition("refundsVersion = :refunds_version", {":refunds_version": order.refunds_version})]


def update_order(
    table_name: str, order_id: str, update: str, conditions: Sequence[Condition], values: Mapping[str, Any]
) -> "TransactWriteItemTypeDef":
    """Return the write that applies the update expression if all conditions hold."""
    condition = " AND ".join(each.text for each in conditions)
    for each in conditions:
        values = {**values, **each.values}
    write: TransactWriteItemTypeDef = {
        "Update": {
            "TableName": table_name,
            "Key": order_key(order_id),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }
    # DynamoDB rejects unused names, and empty maps.
    if values:
        write["Update"]["ExpressionAttributeValues"] = to_wire(values)
    if names := {name: attribute for name, attribute in _NAMES.items() if name in update + condition}:
        write["Update"]["ExpressionAttributeNames"] = names
    return write


def order_key(order_id: str) -> dict[str, Any]:
    """Return the primary key of an order, as DynamoDB takes it."""
    return to_wire({"orderId": order_id})


def shard_of_refunds(order: Order) -> str:
    """Return the partition key that lists an order with an owed or pending refund.

    Version 0.1.0 completes an owed refund of a late payment, and would remove other refunds from its shards.
    """
    owed = order.owed_refund
    is_for_old_version = owed is not None and owed.kind is RefundKind.LATE_PAYMENT
    return shard_of(order.order_id, UNSETTLED_SHARDS if is_for_old_version else REFUND_SHARDS)


def shard_of(order_id: str, shards: Sequence[str] = UNSETTLED_SHARDS) -> str:
    """Return the order's partition key in the `unsettled` index."""
    return choose_shard(order_id, shards)
