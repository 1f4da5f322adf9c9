"""Repair: plans repairs for an audit's findings or, with `apply`, makes them. Runs on demand."""

from order_payments.composition import Components

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field

from order_payments.audit.repair import Holds, Repair, Step
from order_payments.audit.report import MAXIMUM_FINDINGS, Finding
from order_payments.payments import TIME_TO_SETTLE_SECONDS
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import logger, write_metrics
from order_payments.stripe_adapter.retries import STRIPE_CALL_TIMEOUT_SECONDS

REPAIR_STEP_SECONDS = TIME_TO_SETTLE_SECONDS + 2 * STRIPE_CALL_TIMEOUT_SECONDS + 10.0

components = Components()
orders = components.orders
tables = components.audited_tables
stripe = components.stripe


class RepairRequest(BaseModel):
    """An audit's `findings`, to plan repairs, or a plan's `steps` with `apply`, to make them."""

    model_config = ConfigDict(extra="forbid")

    findings: list[Finding] = Field(default_factory=list, max_length=MAXIMUM_FINDINGS)
    steps: list[Step] = Field(default_factory=list, max_length=MAXIMUM_FINDINGS)
    apply: bool = False


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the planned steps or, with `apply`, each step with its outcome. Entry point of the function."""
    with logger.append_context_keys(invocationId=context.aws_request_id):
        request = RepairRequest.model_validate(event)
        read_deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - 2 * REPAIR_STEP_SECONDS)
        repair = Repair(tables, Holds(tables, read_deadline), orders, stripe)
        if not request.apply:
            return {"steps": [repair.plan(finding).to_json() for finding in request.findings]}
        steps: list[Step] = []
        for step in request.steps:
            deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000)
            if deadline.remaining() < REPAIR_STEP_SECONDS:
                steps.append(step.model_copy(update={"outcome": "not done: no time left"}))
                continue
            steps.append(repair.apply(step, deadline=deadline))
            # The log keys of this order must not appear in the lines of the next.
            logger.thread_safe_clear_keys()
        write_metrics()
        return {"steps": [step.to_json() for step in steps]}


components.finish_start(warm_up=lambda: tables.get_order_item("none"))
