"""Every day, and on demand: whether orders, stock and Stripe's charges fit together. A state machine calls it on."""

from order_payments.runtime.start_up import started

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.audit.check import go_on
from order_payments.audit.report import Audit
from order_payments.audit.tables import AuditedTables
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import Count, count, logger, write_metrics
from order_payments.runtime.settings import StripeSettings, TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.stripe_adapter.gateway import stripe_gateway

TIME_TO_REPORT_SECONDS = 5.0

settings = TableSettings.from_environment()
stripe_settings = StripeSettings.from_environment()
client = dynamodb_client()
tables = AuditedTables(client, settings.orders_table, settings.products_table)
stripe = stripe_gateway(stripe_settings, client)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point. Takes an `Audit` as it was handed on, `{}` for a new one; returns it further on."""
    with logger.append_context_keys(invocationId=context.aws_request_id):
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - TIME_TO_REPORT_SECONDS)
        audit = Audit.model_validate(event)
        known, known_unjudged = audit.mismatches, audit.unjudged
        try:
            go_on(audit, tables=tables, stripe=stripe, deadline=deadline)
        finally:
            # What was found before it failed is found: it may fail again and again.
            count(Count.MISMATCH, audit.mismatches - known)
            count(Count.AUDIT_UNJUDGED, audit.unjudged - known_unjudged)
            write_metrics()
        if audit.done:
            logger.info(
                "audited",
                products=audit.products,
                orders=audit.orders,
                charges=audit.charges,
                mismatches=audit.mismatches,
                unjudged=audit.unjudged,
            )
        return audit.to_json()


started(client, rehearsal=lambda: tables.order_item("none"))
