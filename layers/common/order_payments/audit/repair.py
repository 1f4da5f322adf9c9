"""What can be done about what an audit found: planned first, told in words, and done only if nothing changed since."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from order_payments.audit.report import Finding, Kind
from order_payments.audit.tables import AuditedTables, Held, UnreadableOrder, readable
from order_payments.domain.errors import Busy, OrderPaymentError, PaymentProviderError
from order_payments.domain.orders import OrderStatus
from order_payments.payments import follow_intent
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import logger
from order_payments.storage.dynamodb import Contended, ReplyLost, WriteRejected
from order_payments.storage.products_table import stock_in

if TYPE_CHECKING:
    from order_payments.storage.orders_table import OrdersTable
    from order_payments.stripe_adapter.gateway import StripeGateway


class Action(StrEnum):
    """What a step does."""

    SET_AVAILABLE = "set_available"
    LIST = "list_as_unsettled"
    TAKE_OFF = "take_off_unsettled"
    FOLLOW_INTENT = "follow_intent"
    LOOK = "look"
    """Nothing: it is for a person to look at."""


class Step(BaseModel):
    """One step of a plan, with what was seen when it was planned."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")

    action: Action
    tells: str
    """What it will do, in words."""
    order_id: str | None = None
    product_id: str | None = None
    payment_intent_id: str | None = None
    stock: int | None = None
    available: int | None = None
    to: int | None = None
    held_by: str | None = None
    """Digest of the payments in flight of the product."""
    outcome: str | None = None
    """What came of it, once it was tried."""

    def to_json(self) -> dict[str, Any]:
        """As the command prints it and hands it back."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)


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

    def planned(self, finding: Finding) -> Step:
        """What would be done about a finding, as things are now."""
        match finding.kind:
            case Kind.HOLDS_DIFFER | Kind.STOCK_OUT_OF_RANGE:
                return self._planned_for_stock(finding)
            case Kind.NOT_LISTED:
                tells = f"Let the reconciler find {finding.order_id}, and settle it."
                return Step(action=Action.LIST, tells=tells, order_id=finding.order_id)
            case Kind.LISTED:
                tells = f"Take {finding.order_id} out of the reconciler's sight: nothing is left to settle."
                return Step(action=Action.TAKE_OFF, tells=tells, order_id=finding.order_id)
            case Kind.CHARGED_WITHOUT_ORDER:
                return self._planned_for_charge(finding)
        return _to_look_at(finding)

    def _planned_for_charge(self, finding: Finding) -> Step:
        order = readable(self.tables.order_item(finding.order_id)) if finding.order_id else None
        refund = order.refund if order else None
        if refund and refund.payment_intent_id == finding.payment_intent_id and refund.refund_id:
            return _to_look_at(finding, f"it was sent back as {refund.refund_id}, but has not gone")
        return Step(
            action=Action.FOLLOW_INTENT,
            tells=f"Do with {finding.payment_intent_id} as if Stripe had told of it now: "
            f"confirm {finding.order_id} with it if that can be, else send the money back.",
            order_id=finding.order_id,
            payment_intent_id=finding.payment_intent_id,
        )

    def _planned_for_stock(self, finding: Finding) -> Step:
        product_id = finding.product_id or ""
        # Before the holds are looked up: what changes meanwhile changes one of its numbers as well.
        numbers = stock_in(self.tables.product_item(product_id) or {})
        if numbers is None:
            return _to_look_at(finding)
        stock, available = numbers
        try:
            held = self.holds.of(product_id)
        except (Busy, UnreadableOrder) as unknown:
            return _to_look_at(finding, f"what its payments hold is not known: {unknown}")
        to = stock - held.units
        if to < 0:
            return _to_look_at(finding)
        if to == available:
            return _to_look_at(finding, "it fits all payments in flight, of which some are not listed")
        return Step(
            action=Action.SET_AVAILABLE,
            tells=f"Set available of {product_id} from {available} to {to}: "
            f"its stock is {stock}, and payments in flight hold {held.units}.",
            product_id=product_id,
            stock=stock,
            available=available,
            to=to,
            held_by=held.digest,
        )

    def done(self, step: Step, *, deadline: Deadline) -> Step:
        """Do a step, unless things are no longer as they were planned for. Returns it with its `outcome`.

        What a step meets is its own outcome: the others are still to be done, and told of.
        """
        try:
            outcome = self._outcome(step, deadline)
        except (OrderPaymentError, Contended, UnreadableOrder, WriteRejected) as error:
            outcome = f"not done: {str(error) or 'others write the same'}"
        except ReplyLost:
            outcome = "perhaps done: no answer told. An audit tells"
        logger.warning("repaired", outcome=outcome, **step.to_json())
        return step.model_copy(update={"outcome": outcome})

    def _outcome(self, step: Step, deadline: Deadline) -> str:
        match step:
            case Step(
                action=Action.SET_AVAILABLE,
                product_id=str(product_id),
                stock=int(stock),
                available=int(available),
                to=int(to),
            ):
                held = self.holds.of(product_id)
                if held.digest != (step.held_by or ""):
                    return "left alone: other payments are in flight than when it was planned"
                # The caller hands the plan back, and may have changed it.
                if to != stock - held.units or not 0 <= to <= stock:
                    return f"not done: payments in flight hold {held.units} of a stock of {stock}, so it cannot be {to}"
                written = self.tables.set_available(product_id, stock=stock, available=available, to=to)
            case Step(action=Action.LIST, order_id=str(order_id)):
                written = self.tables.list_as_unsettled(order_id)
            case Step(action=Action.TAKE_OFF, order_id=str(order_id)):
                written = self.orders.remove_stale_entry(order_id)
            case Step(action=Action.FOLLOW_INTENT, order_id=str(order_id), payment_intent_id=str(intent_id)):
                order = follow_intent(order_id, intent_id, orders=self.orders, stripe=self.stripe, deadline=deadline)
                if order.status is OrderStatus.CONFIRMED and order.payment_intent_id == intent_id:
                    return "done: the order is confirmed"
                # An order has room for one refund, and what it says was sent may have come to nothing.
                try:
                    intent = self.stripe.summary_of(intent_id, deadline=deadline)
                except PaymentProviderError:
                    return f"perhaps done: the order is {order.status}, and Stripe does not tell. An audit does"
                if intent.charged_at is not None and not intent.kept:
                    return f"done: the order is {order.status}, and the money was sent back"
                return f"not done: the order is {order.status}"
            case Step(action=Action.LOOK):
                return "nothing was done"
            case _:
                return "not understood"
        return "done" if written else "left alone: it has changed since it was planned"


def _to_look_at(finding: Finding, why: str | None = None) -> Step:
    what = finding.order_id or finding.product_id
    return Step(
        action=Action.LOOK,
        tells=f"Nothing: a person has to look at {what} ({finding.kind}): {finding.found}, for {finding.expected}"
        f"{f'; {why}' if why else ''}.",
        order_id=finding.order_id,
        product_id=finding.product_id,
        payment_intent_id=finding.payment_intent_id,
    )
