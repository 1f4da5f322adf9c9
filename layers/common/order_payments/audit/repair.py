"""Repairs of the mismatches that an audit found.

A repair is planned first. A planned step is applied only if the data has not changed since.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from order_payments.audit.report import Finding, FindingKind, JsonModel
from order_payments.audit.tables import AuditedTables, Held, UnreadableOrder, read_order
from order_payments.domain.errors import Busy, OrderPaymentError, PaymentProviderError
from order_payments.domain.orders import OrderStatus
from order_payments.domain.refunds import find_late_refund
from order_payments.payments import follow_intent
from order_payments.refunds import record_all_refunds
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import logger
from order_payments.storage.dynamodb import TransactionConflict, WriteOutcomeUnknown, WriteRejected
from order_payments.storage.products_table import stock_in

if TYPE_CHECKING:
    from order_payments.storage.orders_table import OrdersTable
    from order_payments.stripe_adapter.gateway import StripeGateway


class _StepBase(JsonModel):
    """A step of a plan. `tells` describes it to an operator; `outcome` is its result once it was applied."""

    action: str
    tells: str
    outcome: str | None = None


class SetAvailable(_StepBase):
    """Set `available` of a product to `to`.

    `stock`, `available` and `held_by`, the digest of its payments, are as they were when the step was planned.
    """

    action: Literal["set_available"] = "set_available"
    product_id: str
    stock: int
    available: int
    to: int
    held_by: str = ""


class ListAsUnsettled(_StepBase):
    """Add an order to the reconciler's index."""

    action: Literal["list_as_unsettled"] = "list_as_unsettled"
    order_id: str


class TakeOffUnsettled(_StepBase):
    """Remove an order from the reconciler's index."""

    action: Literal["take_off_unsettled"] = "take_off_unsettled"
    order_id: str


class FollowIntent(_StepBase):
    """Settle an order by the state of a PaymentIntent at Stripe."""

    action: Literal["follow_intent"] = "follow_intent"
    order_id: str
    payment_intent_id: str


class RecordRefunds(_StepBase):
    """Record with an order the refunds that Stripe has of a PaymentIntent."""

    action: Literal["record_refunds"] = "record_refunds"
    order_id: str
    payment_intent_id: str


class Look(_StepBase):
    """Do nothing: an operator has to decide."""

    action: Literal["look"] = "look"
    order_id: str | None = None
    product_id: str | None = None
    payment_intent_id: str | None = None


class UnknownStep(JsonModel):
    """A step of an unknown form. It is returned unchanged, and the other steps are still applied."""

    model_config = ConfigDict(extra="allow")

    outcome: str | None = None


Step = Annotated[
    SetAvailable | ListAsUnsettled | TakeOffUnsettled | FollowIntent | RecordRefunds | Look | UnknownStep,
    Field(union_mode="left_to_right"),
]


class Holds:
    """Units that payments in flight hold, of all orders. The table is scanned once, on first use."""

    def __init__(self, tables: AuditedTables, deadline: Deadline) -> None:
        self._tables = tables
        self._deadline = deadline
        self._found: Mapping[str, Held] | Busy | UnreadableOrder | None = None

    def of(self, product_id: str) -> Held:
        """Return the units held of a product. If the scan failed, every call raises its `Busy` or `UnreadableOrder`."""
        if self._found is None:
            try:
                self._found = self._tables.count_all_holds(deadline=self._deadline)
            except (Busy, UnreadableOrder) as unknown:
                self._found = unknown
        if isinstance(self._found, Exception):
            raise self._found
        return self._found.get(product_id, Held())


@dataclass(frozen=True)
class Repair:
    """Plans and applies the steps of a repair."""

    tables: AuditedTables
    holds: Holds
    orders: "OrdersTable"
    stripe: "StripeGateway"

    def plan(self, finding: Finding) -> Step:
        """Return the step that repairs a finding, based on current data."""
        match finding.kind:
            case FindingKind.HOLDS_DIFFER | FindingKind.STOCK_OUT_OF_RANGE:
                return self._plan_for_stock(finding)
            case FindingKind.NOT_LISTED:
                tells = f"Add {finding.order_id} to the reconciler's index, so that it is settled."
                return ListAsUnsettled(tells=tells, order_id=finding.order_id or "")
            case FindingKind.LISTED:
                tells = f"Remove {finding.order_id} from the reconciler's index: nothing is left to settle."
                return TakeOffUnsettled(tells=tells, order_id=finding.order_id or "")
            case FindingKind.CHARGED_WITHOUT_ORDER:
                return self._plan_for_charge(finding)
            case FindingKind.REFUNDS_DIFFER:
                return RecordRefunds(
                    tells=f"Read the refunds of {finding.payment_intent_id} from Stripe and record them with"
                    f" {finding.order_id}.",
                    order_id=finding.order_id or "",
                    payment_intent_id=finding.payment_intent_id or "",
                )
        return _leave_to_operator(finding)

    def _plan_for_charge(self, finding: Finding) -> Step:
        order = read_order(self.tables.get_order_item(finding.order_id)) if finding.order_id else None
        refund = find_late_refund(order.refunds, finding.payment_intent_id or "") if order else None
        if refund and not refund.is_owed:
            return _leave_to_operator(
                finding,
                f"its refund {refund.stripe_refund_id or refund.refund_id} is recorded as {refund.status},"
                " but Stripe still has the money",
            )
        return FollowIntent(
            tells=f"Read {finding.payment_intent_id} from Stripe and settle by its state: "
            f"confirm {finding.order_id} if possible, else refund the charge.",
            order_id=finding.order_id or "",
            payment_intent_id=finding.payment_intent_id or "",
        )

    def _plan_for_stock(self, finding: Finding) -> Step:
        product_id = finding.product_id or ""
        # Read before the holds: a later change of the holds also changes one of these numbers.
        numbers = stock_in(self.tables.get_product_item(product_id) or {})
        if numbers is None:
            return _leave_to_operator(finding)
        stock, available = numbers
        try:
            held = self.holds.of(product_id)
        except (Busy, UnreadableOrder) as unknown:
            return _leave_to_operator(finding, f"the units that its payments hold are unknown: {unknown}")
        to = stock - held.units
        if to < 0:
            return _leave_to_operator(finding)
        if to == available:
            return _leave_to_operator(
                finding, "it matches all payments in flight, but some of these are not in the reconciler's index"
            )
        return SetAvailable(
            tells=f"Set available of {product_id} from {available} to {to}: "
            f"stock is {stock}, and payments in flight hold {held.units}.",
            product_id=product_id,
            stock=stock,
            available=available,
            to=to,
            held_by=held.digest,
        )

    def apply(self, step: Step, *, deadline: Deadline) -> Step:
        """Apply a step unless the data has changed since it was planned. Return it with its `outcome`.

        An error becomes the outcome of its step, so that the other steps are still applied.
        """
        try:
            outcome = self._apply(step, deadline)
        except (OrderPaymentError, TransactionConflict, UnreadableOrder, WriteRejected) as error:
            outcome = f"not done: {str(error) or 'concurrent writes, try again'}"
        except WriteOutcomeUnknown:
            outcome = "unknown: the response was lost. Run an audit"
        applied = step.model_copy(update={"outcome": outcome})
        logger.warning("repair step finished", **applied.to_json())
        return applied

    def _apply(self, step: Step, deadline: Deadline) -> str:
        match step:
            case SetAvailable(product_id=product_id, stock=stock, available=available, to=to):
                held = self.holds.of(product_id)
                if held.digest != step.held_by:
                    return "not done: its payments in flight have changed since it was planned"
                # Check again: the plan comes back from the caller, who may have changed it.
                if to != stock - held.units or not 0 <= to <= stock:
                    return (
                        f"not done: {to} is wrong, because payments in flight hold {held.units} of a stock of {stock}"
                    )
                written = self.tables.set_available(product_id, stock=stock, available=available, to=to)
            case ListAsUnsettled(order_id=order_id):
                written = self.tables.list_as_unsettled(order_id)
            case TakeOffUnsettled(order_id=order_id):
                order = read_order(self.tables.get_order_item(order_id))
                written = order is not None and self.orders.unsettled.remove_stale(order)
            case FollowIntent(order_id=order_id, payment_intent_id=intent_id):
                order = follow_intent(order_id, intent_id, orders=self.orders, stripe=self.stripe, deadline=deadline)
                if order.status is OrderStatus.CONFIRMED and order.payment_intent_id == intent_id:
                    return "done: the order is confirmed"
                # Ask Stripe: a recorded refund may have failed.
                try:
                    intent = self.stripe.retrieve_summary(intent_id, deadline=deadline)
                except PaymentProviderError:
                    return f"unknown: the order is {order.status}, and Stripe does not respond. Run an audit"
                if intent.charged_at is not None and not intent.unrefunded_amount:
                    return f"done: the order is {order.status}, and the charge was refunded"
                return f"not done: the order is {order.status}"
            case RecordRefunds(order_id=order_id, payment_intent_id=intent_id):
                before = after = self.orders.get(order_id)
                for each in {intent_id, *(refund.payment_intent_id for refund in before.refunds)}:
                    after = record_all_refunds(after, each, orders=self.orders, stripe=self.stripe, deadline=deadline)
                written = after.refunds != before.refunds
            case Look():
                return "not done: an operator has to decide"
            case UnknownStep():
                return "not done: unknown action"
        return "done" if written else "not done: it has changed since it was planned"


def _leave_to_operator(finding: Finding, why: str | None = None) -> Look:
    what = finding.order_id or finding.product_id
    return Look(
        tells=f"No automatic repair of {what} ({finding.kind}): found {finding.found}, expected {finding.expected}"
        f"{f'; {why}' if why else ''}.",
        order_id=finding.order_id,
        product_id=finding.product_id,
        payment_intent_id=finding.payment_intent_id,
    )
