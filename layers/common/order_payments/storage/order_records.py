"""Conversion between orders and items of the orders table."""

from order_payments.domain.orders import (
    LateRefund,
    Order,
    OrderLine,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
    Shortage,
)
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
        "refund": order.refund and refund_to_item(order.refund),
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
        refund=_refund_from_item(item["refund"]) if "refund" in item else None,
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


def refund_to_item(refund: LateRefund) -> Item:
    """Return the `refund` map of an order."""
    item: Item = {"paymentIntentId": refund.payment_intent_id, "owedSince": rfc3339(refund.owed_since)}
    if refund.refund_id is not None:
        item["refundId"] = refund.refund_id
    return item


def _refund_from_item(item: Item) -> LateRefund:
    return LateRefund(item["paymentIntentId"], from_rfc3339(item["owedSince"]), item.get("refundId"))


def override_to_item(override: Override) -> Item:
    """Return the `override` map of an order."""
    item: Item = {"by": override.by, "at": rfc3339(override.at), "reason": override.reason}
    if override.request_id is not None:
        item["requestId"] = override.request_id
    return item


def _override_from_item(item: Item) -> Override:
    return Override(item["by"], from_rfc3339(item["at"]), item["reason"], item.get("requestId"))
