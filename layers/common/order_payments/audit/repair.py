"""What can be done about what an audit found: planned first, told in words, and done only if nothing changed since."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from order_payments.audit.report import Finding, JsonModel, Kind
from order_payments.audit.tables import AuditedTables, Held, UnreadableOrder, readable
from order_payments.domain.errors import Busy, OrderPaymentError, PaymentProviderError
from order_payments.domain.orders import OrderStatus
from order_payments.payments import follow_intent
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import logger
from order_payments.storage.dynamodb import TransactionConflict, WriteOutcomeUnknown, WriteRejected
from order_payments.storage.products_table import stock_in

if TYPE_CHECKING:
    from order_payments.storage.orders_table import OrdersTable
    from order_payments.stripe_adapter.gateway import StripeGateway


class _StepBase(JsonModel):
    """One step of a plan. `tells` says in words what it will do, `outcome` what came of it once it was tried."""

    action: str
    tells: str
    outcome: str | None = None


class SetAvailable(_StepBase):
    """Set what can be sold of a product. The other numbers, and a digest of its payments, are those of the plan."""

    action: Literal["set_available"] = "set_available"
    product_id: str
    stock: int
    available: int
    to: int
    held_by: str = ""


class ListAsUnsettled(_StepBase):
    """Let the reconciler find an order."""

    action: Literal["list_as_unsettled"] = "list_as_unsettled"
    order_id: str


class TakeOffUnsettled(_StepBase):
    """Remove an order from the reconciler's index."""

    action: Literal["take_off_unsettled"] = "take_off_unsettled"
    order_id: str


class FollowIntent(_StepBase):
    """Act on the state of a PaymentIntent at Stripe."""

    action: Literal["follow_intent"] = "follow_intent"
    order_id: str
    payment_intent_id: str


class Look(_StepBase):
    """Do nothing: a person has to look at it."""

    action: Literal["look"] = "look"
    order_id: str | None = None
    product_id: str | None = None
    payment_intent_id: str | None = None


class NotUnderstood(JsonModel):
    """A step that is none of the others. It is returned as it was given, so that the others are still applied."""

    model_config = ConfigDict(extra="allow")

    outcome: str | None = None


Step = Annotated[
    SetAvailable | ListAsUnsettled | TakeOffUnsettled | FollowIntent | Look | NotUnderstood,
    Field(union_mode="left_to_right"),
]


class Holds:
    """What payments in flight hold, by all orders, looked up once: when somebody asks for the first time."""

    def __init__(self, tables: AuditedTables, deadline: Deadline) -> None:
        self._tables = tables
        self._deadline = deadline
        self._found: Mapping[str, Held] | Busy | UnreadableOrder | None = None

    def of(self, product_id: str) -> Held:
        """What is held of a product. Raises `Busy` and `UnreadableOrder`, each time, where that cannot be known."""
        if self._found is None:
            try:
                self._found = self._tables.held_by_any_order(deadline=self._deadline)
            except (Busy, UnreadableOrder) as unknown:
                self._found = unknown
        if isinstance(self._found, Exception):
            raise self._found
        return self._found.get(product_id, Held())


@dataclass(frozen=True)
class Repair:
    """A repair under way: what it looks at, and what it does it with."""

    tables: AuditedTables
    holds: Holds
    orders: "OrdersTable"
    stripe: "StripeGateway"

    def plan(self, finding: Finding) -> Step:
        """Return what can be done about a finding, as things are now."""
        match finding.kind:
            case Kind.HOLDS_DIFFER | Kind.STOCK_OUT_OF_RANGE:
                return self._plan_for_stock(finding)
            case Kind.NOT_LISTED:
                tells = f"Let the reconciler find {finding.order_id}, and settle it."
                return ListAsUnsettled(tells=tells, order_id=finding.order_id or "")
            case Kind.LISTED:
                tells = f"Take {finding.order_id} out of the reconciler's sight: nothing is left to settle."
                return TakeOffUnsettled(tells=tells, order_id=finding.order_id or "")
            case Kind.CHARGED_WITHOUT_ORDER:
                return self._plan_for_charge(finding)
        return _leave_to_a_person(finding)

    def _plan_for_charge(self, finding: Finding) -> Step:
        order = readable(self.tables.order_item(finding.order_id)) if finding.order_id else None
        refund = order.refund if order else None
        if refund and refund.payment_intent_id == finding.payment_intent_id and refund.refund_id:
            return _leave_to_a_person(finding, f"it was sent back as {refund.refund_id}, but has not gone")
        return FollowIntent(
            tells=f"Do with {finding.payment_intent_id} as if Stripe had told of it now: "
            f"confirm {finding.order_id} with it if that can be, else send the money back.",
            order_id=finding.order_id or "",
            payment_intent_id=finding.payment_intent_id or "",
        )

    def _plan_for_stock(self, finding: Finding) -> Step:
        product_id = finding.product_id or ""
        # Before the holds are looked up: what changes meanwhile changes one of its numbers as well.
        numbers = stock_in(self.tables.product_item(product_id) or {})
        if numbers is None:
            return _leave_to_a_person(finding)
        stock, available = numbers
        try:
            held = self.holds.of(product_id)
        except (Busy, UnreadableOrder) as unknown:
            return _leave_to_a_person(finding, f"what its payments hold is not known: {unknown}")
        to = stock - held.units
        if to < 0:
            return _leave_to_a_person(finding)
        if to == available:
            return _leave_to_a_person(finding, "it fits all payments in flight, of which some are not listed")
        return SetAvailable(
            tells=f"Set available of {product_id} from {available} to {to}: "
            f"its stock is {stock}, and payments in flight hold {held.units}.",
            product_id=product_id,
            stock=stock,
            available=available,
            to=to,
            held_by=held.digest,
        )

    def apply(self, step: Step, *, deadline: Deadline) -> Step:
        """Apply a step, unless things have changed since it was planned. Returns it with its `outcome`.

        An error is the outcome of this step, so that the others are still applied.
        """
        try:
            outcome = self._apply(step, deadline)
        except (OrderPaymentError, TransactionConflict, UnreadableOrder, WriteRejected) as error:
            outcome = f"not done: {str(error) or 'others write the same'}"
        except WriteOutcomeUnknown:
            outcome = "perhaps done: no answer told. An audit tells"
        applied = step.model_copy(update={"outcome": outcome})
        logger.warning("repaired", **applied.to_json())
        return applied

    def _apply(self, step: Step, deadline: Deadline) -> str:
        match step:
            case SetAvailable(product_id=product_id, stock=stock, available=available, to=to):
                held = self.holds.of(product_id)
                if held.digest != step.held_by:
                    return "left alone: other payments are in flight than when it was planned"
                # The caller hands the plan back, and may have changed it.
                if to != stock - held.units or not 0 <= to <= stock:
                    return f"not done: payments in flight hold {held.units} of a stock of {stock}, so it cannot be {to}"
                written = self.tables.set_available(product_id, stock=stock, available=available, to=to)
            case ListAsUnsettled(order_id=order_id):
                written = self.tables.list_as_unsettled(order_id)
            case TakeOffUnsettled(order_id=order_id):
                written = self.orders.remove_stale_entry(order_id)
            case FollowIntent(order_id=order_id, payment_intent_id=intent_id):
                order = follow_intent(order_id, intent_id, orders=self.orders, stripe=self.stripe, deadline=deadline)
                if order.status is OrderStatus.CONFIRMED and order.payment_intent_id == intent_id:
                    return "done: the order is confirmed"
                # An order has room for one refund, and what it says was sent may have come to nothing.
                try:
                    intent = self.stripe.retrieve_summary(intent_id, deadline=deadline)
                except PaymentProviderError:
                    return f"perhaps done: the order is {order.status}, and Stripe does not tell. An audit does"
                if intent.charged_at is not None and not intent.unrefunded_amount:
                    return f"done: the order is {order.status}, and the money was sent back"
                return f"not done: the order is {order.status}"
            case Look():
                return "nothing was done"
            case NotUnderstood():
                return "not understood"
        return "done" if written else "left alone: it has changed since it was planned"


def _leave_to_a_person(finding: Finding, why: str | None = None) -> Look:
    what = finding.order_id or finding.product_id
    return Look(
        tells=f"Nothing: a person has to look at {what} ({finding.kind}): {finding.found}, for {finding.expected}"
        f"{f'; {why}' if why else ''}.",
        order_id=finding.order_id,
        product_id=finding.product_id,
        payment_intent_id=finding.payment_intent_id,
    )
