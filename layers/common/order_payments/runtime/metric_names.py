"""Names of the metrics that the functions write.

The authorizer uses this module, so it imports nothing that would slow the authorizer's start.
"""

from enum import StrEnum


class Count(StrEnum):
    """Counters. The alarms and the dashboard in `template.yaml` use these names."""

    ORDER_CREATED = "OrderCreated"
    PAYMENT_CONFIRMED = "PaymentConfirmed"
    PAYMENT_CANCELLED = "PaymentCancelled"
    """Also published by `reason`: Stripe's error code, or this service's."""
    SETTLED_BY_HAND = "SettledByHand"
    PAYMENT_UNKNOWN = "PaymentUnknown"
    PAYMENT_VOIDED = "PaymentVoided"
    PAYMENT_RECONCILED = "PaymentReconciled"
    PAYMENT_REFUNDED = "PaymentRefunded"
    REFUND_SUCCEEDED = "RefundSucceeded"
    REFUND_UNSUCCESSFUL = "RefundUnsuccessful"
    """Refunds that Stripe refused or could not complete. An admin must act."""
    RECONCILIATION_FAILED = "ReconciliationFailed"
    BUSY = "Busy"
    THROTTLED = "Throttled"
    """DynamoDB calls that were still throttled, by a table or an index, after botocore's retries."""
    STRIPE_EVENT_UNREADABLE = "StripeEventUnreadable"
    """Signed Stripe events that the webhook cannot read, such as those of the thin payload style."""
    INTERNAL_ERROR = "InternalError"
    """Unexpected exceptions in requests and reconciled payments. They roll deployments back."""
    AUTHORIZER_FAILED = "AuthorizerFailed"
    """Requests whose token the authorizer could not verify: no keys, or an unexpected exception."""
    MISMATCH = "Mismatch"
    """Charges, orders and stock that do not match. A person must investigate."""
    AUDIT_UNJUDGED = "AuditUnjudged"
    """Orders, charges and products that an audit could not check, so a mismatch may be among them."""


class Gauge(StrEnum):
    """Gauges, in seconds."""

    OLDEST_UNSETTLED = "OldestUnsettledAge"
    """Age of the oldest unsettled payment whose lease has expired; 0 if there is none."""


class Latency(StrEnum):
    """Latency of calls to other services in milliseconds, including the SDK's retries.

    DynamoDB reads are excluded: DynamoDB measures them itself, and a line for each would slow a status read by 4 %.
    """

    DYNAMODB_WRITE = "DynamoDBWriteLatency"
    DYNAMODB_TRANSACTION = "DynamoDBTransactionLatency"
    STRIPE_CREATE = "StripeCreateLatency"
    STRIPE_CONFIRM = "StripeConfirmLatency"
    STRIPE_CANCEL = "StripeCancelLatency"
    STRIPE_RETRIEVE = "StripeRetrieveLatency"
    STRIPE_REFUND = "StripeRefundLatency"
