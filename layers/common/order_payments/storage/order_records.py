"""Conversion between orders and items of the orders table."""

from collections.abc import Iterable

from order_payments.domain.orders import (
    Order,
    OrderLine,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
    Shortage,
)
from order_payments.domain.refunds import Refund, RefundFailure, RefundKind, RefundStatus, late_refund_id
from order_payments.runtime.clock import from_rfc3339, rfc3339
from order_payments.storage.dynamodb import Item
from order_payments.storage.order_indexes import PlacedKey


def order_to_item(order: Order) -> Item:
    """Return the complete item of an order."""
    item: Item = {
        "orderId": order.order_id,
        "buyerId": order.buyer_id,
        "status": order.status,
        "totalAmount": order.total_amount,
        "currency": order.currency,
        "paymentMethod": order.payment_method,
        "items": [
            {
                "productId": line.product_id,
                "name": line.name,
                "quantity": line.quantity,
                "unitPrice": line.unit_price,
            }
            for line in order.lines
        ],
        "createdAt": rfc3339(order.created_at),
        "updatedAt": rfc3339(order.updated_at),
        **PlacedKey(rfc3339(order.created_at), order.order_id).to_item(),
    }
    optional = {
        "expiresAt": order.expires_at and rfc3339(order.expires_at),
        "reason": order.reason and reason_to_item(order.reason),
        "payment": order.attempt and attempt_to_item(order.attempt),
        **refunds_to_item(order.refunds),
        "refundsVersion": order.refunds_version,
        "override": order.override and override_to_item(order.override),
        "refusedAttempts": order.refused_attempts,
        "requestId": order.request_id,
        "requestFingerprint": order.request_fingerprint,
        "cancelRequestId": order.cancel_request_id,
    }
    return item | {name: value for name, value in optional.items() if value}


def order_from_item(item: Item) -> Order:
    """Return the order that an item stores."""
    return Order(
        order_id=item["orderId"],
        buyer_id=item["buyerId"],
        status=OrderStatus(item["status"]),
        total_amount=int(item["totalAmount"]),
        currency=item["currency"],
        lines=tuple(
            OrderLine(line["productId"], line["name"], int(line["quantity"]), int(line["unitPrice"]))
            for line in item["items"]
        ),
        created_at=from_rfc3339(item["createdAt"]),
        updated_at=from_rfc3339(item["updatedAt"]),
        expires_at=from_rfc3339(item["expiresAt"]) if "expiresAt" in item else None,
        reason=_reason_from_item(item["reason"]) if "reason" in item else None,
        attempt=_attempt_from_item(item["payment"]) if "payment" in item else None,
        refunds=_refunds_from_item(item),
        refunds_version=int(item.get("refundsVersion", 0)),
        override=_override_from_item(item["override"]) if "override" in item else None,
        refused_attempts=int(item.get("refusedAttempts", 0)),
        request_id=item.get("requestId"),
        request_fingerprint=item.get("requestFingerprint"),
        cancel_request_id=item.get("cancelRequestId"),
    )


def attempt_to_item(attempt: PaymentAttempt) -> Item:
    """Return the `payment` map of an order."""
    item: Item = {
        "attemptId": attempt.attempt_id,
        "paymentIntentId": attempt.payment_intent_id,
        "paymentMethodId": attempt.payment_method_id,
        "startedAt": rfc3339(attempt.started_at),
    }
    if attempt.idempotency_key is not None:
        item["idempotencyKey"] = attempt.idempotency_key
    if attempt.request_id is not None:
        item["requestId"] = attempt.request_id
    if attempt.shortages:
        item["shortages"] = [
            {"productId": short.product_id, "requested": short.requested, "available": short.available}
            for short in attempt.shortages
        ]
    return item


def _attempt_from_item(item: Item) -> PaymentAttempt:
    return PaymentAttempt(
        attempt_id=item["attemptId"],
        payment_intent_id=item["paymentIntentId"],
        payment_method_id=item["paymentMethodId"],
        started_at=from_rfc3339(item["startedAt"]),
        idempotency_key=item.get("idempotencyKey"),
        request_id=item.get("requestId"),
        shortages=tuple(
            Shortage(short["productId"], int(short["requested"]), int(short["available"]))
            for short in item.get("shortages", [])
        ),
    )


def reason_to_item(reason: Reason) -> Item:
    """Return the `reason` map of an order."""
    return {"code": reason.code, "declineCode": reason.decline_code, "message": reason.message}


def _reason_from_item(item: Item) -> Reason:
    return Reason(item["code"], item["message"], item["declineCode"])


def refunds_to_item(refunds: Iterable[Refund]) -> Item:
    """Return the attributes `refund` and `refunds` of an order, without those that would be empty.

    The first refund of a late payment is stored in `refund`, in the form that version 0.1.0 reads and completes.
    """
    others = list(refunds)
    late = next((refund for refund in others if refund.kind is RefundKind.LATE_PAYMENT), None)
    if late is not None:
        others.remove(late)
    return {
        **({"refund": _late_refund_to_item(late)} if late else {}),
        **({"refunds": list(map(_refund_to_item, others))} if others else {}),
    }


def _late_refund_to_item(refund: Refund) -> Item:
    item: Item = {
        "paymentIntentId": refund.payment_intent_id,
        "owedSince": rfc3339(refund.created_at),
        "status": refund.status,
        "amount": refund.amount,
        "updatedAt": rfc3339(refund.updated_at),
    }
    optional = {"refundId": refund.stripe_refund_id, "failure": refund.failure and _failure_to_item(refund.failure)}
    return item | {name: value for name, value in optional.items() if value}


def _refund_to_item(refund: Refund) -> Item:
    item: Item = {
        "refundId": refund.refund_id,
        "kind": refund.kind,
        "status": refund.status,
        "paymentIntentId": refund.payment_intent_id,
        "amount": refund.amount,
        "createdAt": rfc3339(refund.created_at),
        "updatedAt": rfc3339(refund.updated_at),
    }
    optional = {
        "stripeRefundId": refund.stripe_refund_id,
        "reason": refund.reason,
        "restock": [{"productId": product_id, "quantity": quantity} for product_id, quantity in refund.restock],
        "by": refund.by,
        "requestId": refund.request_id,
        "requestFingerprint": refund.request_fingerprint,
        "failure": refund.failure and _failure_to_item(refund.failure),
    }
    return item | {name: value for name, value in optional.items() if value}


def _failure_to_item(failure: RefundFailure) -> Item:
    return {"code": failure.code, "message": failure.message}


def _refunds_from_item(item: Item) -> tuple[Refund, ...]:
    late = (_late_refund_from_item(item["refund"], int(item["totalAmount"])),) if "refund" in item else ()
    return (*late, *map(_refund_from_item, item.get("refunds", [])))


def _late_refund_from_item(item: Item, order_total: int) -> Refund:
    """Return the refund of a late payment. Version 0.1.0 stores neither its status nor its amount."""
    status = RefundStatus.SUCCEEDED if "refundId" in item else RefundStatus.OWED
    created_at = from_rfc3339(item["owedSince"])
    return Refund(
        refund_id=late_refund_id(item["paymentIntentId"]),
        kind=RefundKind.LATE_PAYMENT,
        status=RefundStatus(item.get("status", status)),
        payment_intent_id=item["paymentIntentId"],
        amount=int(item.get("amount", order_total)),
        created_at=created_at,
        updated_at=from_rfc3339(item["updatedAt"]) if "updatedAt" in item else created_at,
        stripe_refund_id=item.get("refundId"),
        failure=_failure_from_item(item),
    )


def _refund_from_item(item: Item) -> Refund:
    return Refund(
        refund_id=item["refundId"],
        kind=RefundKind(item["kind"]),
        status=RefundStatus(item["status"]),
        payment_intent_id=item["paymentIntentId"],
        amount=int(item["amount"]),
        created_at=from_rfc3339(item["createdAt"]),
        updated_at=from_rfc3339(item["updatedAt"]),
        stripe_refund_id=item.get("stripeRefundId"),
        reason=item.get("reason"),
        restock=tuple((line["productId"], int(line["quantity"])) for line in item.get("restock", [])),
        by=item.get("by"),
        request_id=item.get("requestId"),
        request_fingerprint=item.get("requestFingerprint"),
        failure=_failure_from_item(item),
    )


def _failure_from_item(item: Item) -> RefundFailure | None:
    return RefundFailure(item["failure"]["code"], item["failure"]["message"]) if "failure" in item else None


def override_to_item(override: Override) -> Item:
    """Return the `override` map of an order."""
    item: Item = {"by": override.by, "at": rfc3339(override.at), "reason": override.reason}
    if override.request_id is not None:
        item["requestId"] = override.request_id
    return item


def _override_from_item(item: Item) -> Override:
    return Override(item["by"], from_rfc3339(item["at"]), item["reason"], item.get("requestId"))
