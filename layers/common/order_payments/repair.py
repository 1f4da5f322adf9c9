"""What can be done about what an audit found: planned first, told in words, and done only if nothing changed since."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from order_payments.audit import Finding, Kind
from order_payments.audited_tables import AuditedTables, Held, UnreadableOrder
from order_payments.clock import Deadline
from order_payments.dynamodb import Contended, ReplyLost, WriteRejected
from order_payments.errors import Busy, OrderPaymentError
from order_payments.observability import logger
from order_payments.payments import follow_intent

if TYPE_CHECKING:
    from order_payments.orders_table import OrdersTable
    from order_payments.stripe_gateway import StripeGateway


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


Holds = Callable[[], Mapping[str, Held]]
"""What payments in flight hold, looked up in all orders when somebody asks for the first time; raises as that does."""


def planned(finding: Finding, *, tables: AuditedTables, holds: Holds) -> Step:
    """What would be done about a finding, as things are now."""
    match finding.kind:
        case Kind.HOLDS_DIFFER | Kind.STOCK_OUT_OF_RANGE:
            return _planned_for_stock(finding, tables, holds)
        case Kind.NOT_LISTED:
            tells = f"Let the reconciler find {finding.order_id}, and settle it."
            return Step(action=Action.LIST, tells=tells, order_id=finding.order_id)
        case Kind.LISTED:
            tells = f"Take {finding.order_id} out of the reconciler's sight: nothing is left to settle."
            return Step(action=Action.TAKE_OFF, tells=tells, order_id=finding.order_id)
        case Kind.CHARGED_WITHOUT_ORDER if "no such order" not in finding.found:
            return Step(
                action=Action.FOLLOW_INTENT,
                tells=f"Do with {finding.payment_intent_id} as if Stripe had told of it now: "
                f"confirm {finding.order_id} with it if that can be, else send the money back.",
                order_id=finding.order_id,
                payment_intent_id=finding.payment_intent_id,
            )
    return _to_look_at(finding)


def _planned_for_stock(finding: Finding, tables: AuditedTables, holds: Holds) -> Step:
    product_id = finding.product_id or ""
    # Before the holds are looked up: what changes meanwhile changes one of its numbers as well.
    item = tables.product_item(product_id) or {}
    try:
        held = holds().get(product_id, Held())
    except (Busy, UnreadableOrder) as unknown:
        return _to_look_at(finding, f"what its payments hold is not known: {unknown}")
    try:
        stock, available = int(item["stock"]), int(item["available"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return _to_look_at(finding)
    if stock < held.units:
        return _to_look_at(finding)
    to = stock - held.units
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


def done(
    step: Step,
    *,
    tables: AuditedTables,
    holds: Holds,
    orders: "OrdersTable",
    stripe: "StripeGateway",
    deadline: Deadline,
) -> Step:
    """Do a step, unless things are no longer as they were planned for. Returns it with its `outcome`.

    What a step meets is its own outcome: the others are still to be done, and told of.
    """
    try:
        outcome = _done(step, tables, holds, orders, stripe, deadline)
    except (Busy, Contended, UnreadableOrder, WriteRejected) as error:
        outcome = f"not done: {str(error) or 'others write the same'}"
    except ReplyLost:
        outcome = "perhaps done: no answer told. An audit tells"
    logger.warning("repaired", outcome=outcome, **step.to_json())
    return step.model_copy(update={"outcome": outcome})


def _done(
    step: Step,
    tables: AuditedTables,
    holds: Holds,
    orders: "OrdersTable",
    stripe: "StripeGateway",
    deadline: Deadline,
) -> str:
    written = None
    match step.action:
        case Action.SET_AVAILABLE if step.product_id and step.stock is not None and step.to is not None:
            if holds().get(step.product_id, Held()).digest != (step.held_by or ""):
                return "left alone: other payments are in flight than when it was planned"
            written = tables.set_available(step.product_id, stock=step.stock, available=step.available, to=step.to)
        case Action.LIST if step.order_id:
            written = tables.list_as_unsettled(step.order_id)
        case Action.TAKE_OFF if step.order_id:
            written = tables.take_off_unsettled(step.order_id)
        case Action.FOLLOW_INTENT if step.order_id and step.payment_intent_id:
            try:
                order = follow_intent(
                    step.order_id, step.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline
                )
            except OrderPaymentError as error:
                return f"not done: {error}"
            refunded = ", and the money was sent back" if order.refund and order.refund.refund_id else ""
            return f"the order is {order.status}{refunded}"
        case Action.LOOK:
            return "nothing was done"
    return {True: "done", False: "left alone: it has changed since it was planned", None: "not understood"}[written]
