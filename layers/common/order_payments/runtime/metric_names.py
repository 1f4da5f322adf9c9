"""Names of the metrics that the functions write.

The authorizer reads them here, so this module imports nothing that would slow its start.
"""

from enum import StrEnum


class Count(StrEnum):
    """What is counted. Alarms and the dashboard, in `template.yaml`, know these names."""

    ORDER_CREATED = "OrderCreated"
    PAYMENT_CONFIRMED = "PaymentConfirmed"
    PAYMENT_CANCELLED = "PaymentCancelled"
    """Also by `reason`: Stripe's error code, or ours."""
    SETTLED_BY_HAND = "SettledByHand"
    PAYMENT_UNKNOWN = "PaymentUnknown"
    PAYMENT_VOIDED = "PaymentVoided"
    PAYMENT_RECONCILED = "PaymentReconciled"
    PAYMENT_REFUNDED = "PaymentRefunded"
    RECONCILIATION_FAILED = "ReconciliationFailed"
    BUSY = "Busy"
    THROTTLED = "Throttled"
    """Calls that DynamoDB throttled, of a table or an index, and botocore did not get through either."""
    STRIPE_EVENT_UNREADABLE = "StripeEventUnreadable"
    """Events that Stripe signed and the webhook cannot read, as those of the thin payload style."""
    INTERNAL_ERROR = "InternalError"
    """Requests and reconciled payments that met an unexpected exception of ours. It rolls deployments back."""
    AUTHORIZER_FAILED = "AuthorizerFailed"
    """Requests whose token the authorizer could not judge: no keys, or an unexpected exception."""
    MISMATCH = "Mismatch"
    """Charges, orders and stock that do not fit together: a person has to look."""
    AUDIT_UNJUDGED = "AuditUnjudged"
    """Orders, charges and products that an audit could not judge, so that a mismatch may be among them."""


class Gauge(StrEnum):
    """What is measured at one moment, by its unit."""

    OLDEST_UNSETTLED = "OldestUnsettledAge"
    """Seconds for which the oldest payment is unsettled that is not its payer's any more; 0 where there is none."""


class Latency(StrEnum):
    """What others take to answer a call, in milliseconds, the repetitions of the SDK that makes it included.

    Reads of DynamoDB are not among them: it measures them itself, and a line for each would cost a status read 4 %.
    """

    DYNAMODB_WRITE = "DynamoDBWriteLatency"
    DYNAMODB_TRANSACTION = "DynamoDBTransactionLatency"
    STRIPE_CREATE = "StripeCreateLatency"
    STRIPE_CONFIRM = "StripeConfirmLatency"
    STRIPE_CANCEL = "StripeCancelLatency"
    STRIPE_RETRIEVE = "StripeRetrieveLatency"
    STRIPE_REFUND = "StripeRefundLatency"
