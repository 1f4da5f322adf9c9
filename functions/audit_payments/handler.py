"""Audit: checks that orders, stock and Stripe's charges match. A state machine invokes it daily and on demand."""

from order_payments.composition import Components

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.audit.check import continue_audit
from order_payments.audit.report import Audit
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger, write_metrics

AUDIT_REPORT_SECONDS = 5.0

components = Components()
tables = components.audited_tables
stripe = components.stripe


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Continue an `Audit`, or start one if `event` is `{}`, and return it. Entry point of the function."""
    with logger.append_context_keys(invocationId=context.aws_request_id):
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - AUDIT_REPORT_SECONDS)
        audit = Audit.model_validate(event)
        known, known_unjudged = audit.mismatches, audit.unjudged
        try:
            continue_audit(audit, tables=tables, stripe=stripe, deadline=deadline)
        finally:
            # Count the findings also if this invocation fails, because it may fail repeatedly.
            count(Count.MISMATCH, audit.mismatches - known)
            count(Count.AUDIT_UNJUDGED, audit.unjudged - known_unjudged)
            write_metrics()
        if audit.done:
            logger.info(
                "audit completed",
                products=audit.products,
                orders=audit.orders,
                charges=audit.charges,
                mismatches=audit.mismatches,
                unjudged=audit.unjudged,
            )
        return audit.to_json()


components.finish_start(warm_up=lambda: tables.get_order_item("none"))
