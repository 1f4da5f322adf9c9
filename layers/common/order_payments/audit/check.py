"""Checks of orders, stock and Stripe's charges against each other, page by page. They change nothing.

Payments continue during an audit, and a race must not be reported as a mismatch. Each check therefore uses only facts
that hold at one moment:

- An item is written as a whole, and a strongly consistent read returns it as a whole.
- A charge without its order is reported only once it is older than `CHARGE_GRACE`.
- A product and its payments in flight are many items, which cannot be read at one moment. A difference is a mismatch
  only if neither the product nor the set of its payments changes between rechecks that are `RECHECK_DELAY` apart. By
  then the index has caught up.

A product that changes between all rechecks is counted as not judged. The next audit checks it again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from order_payments.audit.report import Audit, Finding, FindingKind, Phase, Suspect
from order_payments.audit.tables import AuditedTables, Held, is_listed, read_order
from order_payments.domain.errors import PaymentProviderError
from order_payments.domain.orders import Order, OrderStatus, is_order_id
from order_payments.domain.products import MAXIMUM_STOCK, faults_in_stock
from order_payments.domain.refunds import (
    ALREADY_REFUNDED,
    SENT_STATUSES,
    RefundStatus,
    find_late_refund,
    refunded_amount,
    restocked_units,
)
from order_payments.runtime.clock import Deadline, from_rfc3339, utc_now
from order_payments.storage.dynamodb import Item
from order_payments.storage.products_table import InvalidProductItem, is_product_item, product_from_item, stock_in
from order_payments.stripe_adapter.outcomes import (
    ChargeRefunded,
    IntentState,
    IntentSummary,
    Paid,
    StripeRefund,
    Unknown,
)

if TYPE_CHECKING:
    from order_payments.stripe_adapter.gateway import StripeGateway

_Input = TypeVar("_Input")
_Output = TypeVar("_Output")

CHARGE_GRACE = timedelta(minutes=10)
"""Longest time a charge may precede its order's settlement. The reconciler or a webhook settles it in minutes."""

REFUND_WINDOW = timedelta(days=30)
"""Age up to which a refund is compared with Stripe: a bank may return its money weeks later.
https://docs.stripe.com/refunds#failed-refunds"""

MAXIMUM_RECHECKS = 5
RECHECKS_TO_CONFIRM = 2
PAGE_ITEMS = 50
MAXIMUM_CONCURRENT_STRIPE_CALLS = 4
PAGE_TIMEOUT_SECONDS = 150.0
"""Time for a page if Stripe is slow: 50 orders, 4 at a time, with 10 seconds for each call."""


def continue_audit(audit: Audit, *, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> Audit:
    """Check pages while there is time for another. Return the audit, done or to be continued in another call."""
    audit.wait_seconds = 0
    while not audit.done and not audit.wait_seconds and deadline.remaining() > PAGE_TIMEOUT_SECONDS:
        if audit.unanswered_orders or audit.unanswered_charges:
            _retry_stripe(audit, tables, stripe, deadline)
            continue
        match audit.phase:
            case Phase.PRODUCTS:
                _check_products(audit, tables)
            case Phase.ORDERS:
                _check_orders(audit, tables, stripe, deadline)
            case Phase.CHARGES:
                _check_charges(audit, tables, stripe, deadline)
            case Phase.SUSPECTS:
                _schedule_recheck(audit)
            case Phase.LOOK_AGAIN:
                _recheck_suspects(audit, tables)
            case Phase.DONE:
                audit.done = True
    return audit


def _check_products(audit: Audit, tables: AuditedTables) -> None:
    held = tables.count_listed_holds()
    if audit.after is None:
        for product_id in held:
            _check_product_exists(audit, product_id, held[product_id], tables)
    page = tables.scan_products(limit=PAGE_ITEMS, after=audit.after)
    doubtful: list[str] = []
    for item in page.items:
        audit.products += 1
        if not is_product_item(item):
            continue
        product_id = str(item["productId"])
        try:
            product = product_from_item(item)
        except InvalidProductItem as invalid:
            audit.report(_make_product_finding(product_id, item, invalid))
            continue
        if product.reserved != held.get(product_id, Held()).units:
            doubtful.append(product_id)
    if doubtful:
        # Most differences come from payments between the two reads. Reading the holds again drops these, so that they
        # do not fill the list of suspects.
        held = tables.count_listed_holds()
        for product_id in doubtful:
            if (suspect := _suspect(product_id, held, tables)) is not None:
                audit.suspect(suspect)
    audit.move_on(page.last, Phase.ORDERS)


def _make_product_finding(product_id: str, item: Item, invalid: InvalidProductItem) -> Finding:
    numbers = stock_in(item)
    if numbers is not None and any(faults_in_stock(*numbers)):
        return Finding(
            kind=FindingKind.STOCK_OUT_OF_RANGE,
            product_id=product_id,
            found=f"stock {numbers[0]}, available {numbers[1]}",
            expected=f"0 <= available <= stock <= {MAXIMUM_STOCK}",
        )
    return Finding(
        kind=FindingKind.PRODUCT_UNREADABLE,
        product_id=product_id,
        found=str(invalid),
        expected="a product that can be sold",
    )


def _check_product_exists(audit: Audit, product_id: str, held: Held, tables: AuditedTables) -> None:
    """Report a missing product that payments in flight hold. They are settled without it."""
    item = tables.get_product_item(product_id)
    if item is None or not is_product_item(item):
        found = f"no such product, and {held.units} held by payments in flight"
        audit.report(
            Finding(
                kind=FindingKind.PRODUCT_MISSING,
                product_id=product_id,
                found=found,
                expected="the product that they hold",
            )
        )


def _schedule_recheck(audit: Audit) -> None:
    if not audit.suspects or audit.looks == MAXIMUM_RECHECKS:
        for suspect in audit.suspects:
            audit.leave_unjudged(product_id=suspect.product_id)
        audit.suspects = []
        audit.phase = Phase.DONE
        return
    # Wait first: the products may have been read a moment ago.
    audit.wait_seconds = audit.look_again_after_seconds
    audit.phase = Phase.LOOK_AGAIN


def _recheck_suspects(audit: Audit, tables: AuditedTables) -> None:
    audit.looks += 1
    held = tables.count_listed_holds()
    remaining: list[Suspect] = []
    for before in audit.suspects:
        now = _suspect(before.product_id, held, tables)
        if now is None:
            continue
        if now == before.model_copy(update={"stands": 0}):
            now.stands = before.stands + 1
        if now.stands < RECHECKS_TO_CONFIRM:
            remaining.append(now)
            continue
        audit.report(
            Finding(
                kind=FindingKind.HOLDS_DIFFER,
                product_id=now.product_id,
                found=f"{now.stock - now.available} held: stock {now.stock}, available {now.available}",
                expected=f"{now.held} held, by payments in flight",
            )
        )
    audit.suspects = remaining
    audit.phase = Phase.SUSPECTS


def _suspect(product_id: str, all_held: Mapping[str, Held], tables: AuditedTables) -> Suspect | None:
    """Return the product as a suspect if its reserved units differ from what payments hold; else None."""
    numbers = stock_in(tables.get_product_item(product_id) or {})
    held = all_held.get(product_id, Held())
    if numbers is None or numbers[0] - numbers[1] == held.units:
        return None
    stock, available = numbers
    return Suspect(product_id=product_id, stock=stock, available=available, held=held.units, digest=held.digest)


def _check_orders(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    page = tables.scan_orders(limit=PAGE_ITEMS, after=audit.after)
    since = from_rfc3339(audit.since)
    to_compare: list[Order] = []
    to_compare_refunds: list[Order] = []
    for item in page.items:
        audit.orders += 1
        if next(_find_faults(item), None) is not None:
            # The scan may be older than a concurrent write. A strongly consistent read of the item decides.
            for finding in _find_faults(tables.get_order_item(item["orderId"])):
                audit.report(finding)
        order = read_order(item)
        if order is not None and _needs_refunds_compared(order, since):
            to_compare_refunds.append(order)
        if order is not None and _needs_charge(order):
            if order.attempt is None:
                audit.report(_make_missing_charge_finding(order, "no payment"))
            elif order.updated_at >= since:
                to_compare.append(order)
    _check_charges_of(audit, to_compare, stripe, deadline)
    _check_refunds_of(audit, to_compare_refunds, tables, stripe, deadline)
    audit.move_on(page.last, Phase.CHARGES)


def _needs_refunds_compared(order: Order, since: datetime) -> bool:
    """Return whether the order's refunds may still change. `_check_charges` compares late payments since `since`."""
    is_older = order.status is OrderStatus.CONFIRMED or order.updated_at < since
    return is_older and any(refund.updated_at > utc_now() - REFUND_WINDOW for refund in order.refunds)


def _needs_charge(order: Order) -> bool:
    return order.status is OrderStatus.CONFIRMED and order.override is None


def _find_faults(item: Item | None) -> Iterator[Finding]:
    """Yield the faults that an order's item shows on its own."""
    if item is None:
        return
    order = read_order(item)
    order_id = str(item.get("orderId"))
    if order is None:
        yield Finding(kind=FindingKind.ORDER_UNREADABLE, order_id=order_id, found="no order", expected="an order")
        return
    total = sum(line.quantity * line.unit_price for line in order.lines)
    if order.total_amount != total or any(line.quantity < 1 or line.unit_price < 0 for line in order.lines):
        yield Finding(
            kind=FindingKind.ORDER_DOES_NOT_ADD_UP,
            order_id=order_id,
            found=f"a total of {order.total_amount} {order.currency}, lines of {total}",
            expected="a total that is the sum of its lines, each of at least one unit",
        )
    if min(order.restockable_units().values(), default=0) < 0:
        yield Finding(
            kind=FindingKind.RESTOCKED_TOO_MUCH,
            order_id=order_id,
            found=f"{sum(restocked_units(order.refunds).values())} units put back",
            expected="at most the units sold of each product",
        )
    to_settle = order.in_flight or order.unfinished_refunds
    if to_settle and not is_listed(item):
        what = "a payment in flight" if order.in_flight else "an unfinished refund"
        yield Finding(
            kind=FindingKind.NOT_LISTED,
            order_id=order_id,
            found=f"{what}, missing from the index that the reconciler reads",
            expected="listed",
        )
    if {"unsettledShard", "unsettledSince"} <= item.keys() and not to_settle:
        found = f"{order.status}, listed as unsettled"
        yield Finding(kind=FindingKind.LISTED, order_id=order_id, found=found, expected="not listed")


def _check_charges_of(audit: Audit, orders: Sequence[Order], stripe: "StripeGateway", deadline: Deadline) -> None:
    """Report confirmed orders that Stripe has not charged."""

    def retrieve(order: Order) -> IntentState:
        return stripe.retrieve_state(order, order.payment_intent_id or "", deadline=deadline)

    for order, state in _map_concurrently(retrieve, orders):
        if isinstance(state, Unknown):
            if audit.schedule_stripe_retry(order.order_id):
                audit.unanswered_orders.append(order.order_id)
            else:
                audit.leave_unjudged(order_id=order.order_id)
        # A refund in Stripe's dashboard leaves the order confirmed, so it is no mismatch.
        elif not isinstance(state, Paid | ChargeRefunded):
            audit.report(_make_missing_charge_finding(order, type(state).__name__.lower()))


def _check_refunds_of(
    audit: Audit, orders: Sequence[Order], tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline
) -> None:
    """Report orders whose refunds are not those that Stripe has."""

    def list_refunds(order: Order) -> list[StripeRefund] | None:
        found: list[StripeRefund] = []
        for intent_id in {refund.payment_intent_id for refund in order.refunds} | {order.payment_intent_id or ""}:
            refunds = stripe.list_refunds(intent_id, deadline=deadline) if intent_id else []
            if isinstance(refunds, Unknown):
                return None
            found += refunds
        return found

    for before, refunds in _map_concurrently(list_refunds, orders):
        if refunds is None:
            if audit.schedule_stripe_retry(before.order_id):
                audit.unanswered_orders.append(before.order_id)
            else:
                audit.leave_unjudged(order_id=before.order_id)
            continue
        order = read_order(tables.get_order_item(before.order_id)) or before
        grace_start = utc_now() - CHARGE_GRACE
        times = [refund.created_at for refund in refunds] + [refund.updated_at for refund in order.refunds]
        if order.owed_refund or any(time > grace_start for time in times):
            continue  # a webhook or the reconciler may be about to record it; the next audit compares it
        recorded = {refund.stripe_refund_id: refund.status for refund in order.refunds if refund.stripe_refund_id}
        if ALREADY_REFUNDED in recorded:
            continue  # version 0.1.0 did not record the id
        # A refund that was made without this service and failed returned nothing, and is not recorded.
        at_stripe = {
            refund.stripe_refund_id: refund.status
            for refund in refunds
            if refund.stripe_refund_id in recorded or refund.status is not RefundStatus.FAILED
        }
        if recorded != at_stripe:
            audit.report(_make_refunds_finding(order, refunds))


def _make_refunds_finding(order: Order, refunds: Sequence[StripeRefund]) -> Finding:
    at_stripe = sum(refund.amount for refund in refunds if refund.status in SENT_STATUSES)
    intent_ids = [refund.payment_intent_id for refund in refunds] or [r.payment_intent_id for r in order.refunds]
    return Finding(
        kind=FindingKind.REFUNDS_DIFFER,
        order_id=order.order_id,
        payment_intent_id=intent_ids[0] if intent_ids else order.payment_intent_id,
        found=f"{refunded_amount(order.refunds)} {order.currency} recorded as refunded",
        expected=f"{at_stripe} {order.currency} refunded at Stripe",
    )


def _retry_stripe(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    """Check the orders and charges of the last page that Stripe did not respond for."""
    order_ids, audit.unanswered_orders = audit.unanswered_orders, []
    intent_ids, audit.unanswered_charges = audit.unanswered_charges, []
    audit.stripe_retries += 1
    orders = [order for item in tables.get_order_items(order_ids).values() if (order := read_order(item)) is not None]
    _check_charges_of(audit, list(filter(_needs_charge, orders)), stripe, deadline)
    _check_refunds_of(
        audit, [order for order in orders if order.refunds or _needs_charge(order)], tables, stripe, deadline
    )
    _recheck_charges(audit, intent_ids, tables, stripe, deadline)


def _map_concurrently(call: Callable[[_Input], _Output], inputs: Sequence[_Input]) -> Iterator[tuple[_Input, _Output]]:
    """Yield each input with its output. Concurrency is limited because of Stripe's rate limit."""
    with ThreadPoolExecutor(MAXIMUM_CONCURRENT_STRIPE_CALLS, thread_name_prefix="audit") as pool:
        yield from zip(inputs, pool.map(call, inputs), strict=True)


def _make_missing_charge_finding(order: Order, found: str) -> Finding:
    return Finding(
        kind=FindingKind.CONFIRMED_WITHOUT_CHARGE,
        order_id=order.order_id,
        payment_intent_id=order.payment_intent_id,
        found=found,
        expected=f"a charge of {order.total_amount} {order.currency}",
    )


def _check_charges(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    intents, last = stripe.list_intents(after=audit.after, deadline=deadline)
    since, grace_start = from_rfc3339(audit.since), utc_now() - CHARGE_GRACE
    in_window = [intent for intent in intents if intent.created_at >= since]
    charged = [intent for intent in in_window if intent.charged_at is not None and is_order_id(intent.order_id or "")]
    audit.charges += len(charged)
    unexplained = [
        intent.intent_id
        for intent, _ in _find_unexplained(charged, tables, grace_start)
        if intent.charged_at is not None and intent.charged_at < grace_start
    ]
    _recheck_charges(audit, unexplained, tables, stripe, deadline)
    audit.move_on(last if len(in_window) == len(intents) else None, Phase.SUSPECTS)


def _recheck_charges(
    audit: Audit, unexplained: Sequence[str], tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline
) -> None:
    """Report charges that are still unexplained. Since the page was read, a refund or a settlement may explain them."""

    def retrieve(intent_id: str) -> IntentSummary | None:
        try:
            return stripe.retrieve_summary(intent_id, deadline=deadline)
        except PaymentProviderError:
            return None

    charged: list[IntentSummary] = []
    for intent_id, intent in _map_concurrently(retrieve, unexplained):
        if intent is not None:
            charged.append(intent)
        elif audit.schedule_stripe_retry(intent_id):
            audit.unanswered_charges.append(intent_id)
        else:
            audit.leave_unjudged(payment_intent_id=intent_id)
    to_compare_refunds: list[Order] = []
    for intent, order in _find_unexplained(charged, tables, grace_start=utc_now() - CHARGE_GRACE):
        if order is not None and _is_confirmed_with(order, intent):
            to_compare_refunds.append(order)
            continue
        audit.report(
            Finding(
                kind=_choose_kind(order, intent),
                order_id=intent.order_id,
                payment_intent_id=intent.intent_id,
                found=f"a charge of {_describe_charge(intent)}, {_describe_order(order)}",
                expected="the order confirmed with it, or a refund",
            )
        )
    _check_refunds_of(audit, to_compare_refunds, tables, stripe, deadline)


def _find_unexplained(
    charged: Sequence[IntentSummary], tables: AuditedTables, grace_start: datetime
) -> Iterator[tuple[IntentSummary, Order | None]]:
    """Yield the charges that their orders do not explain. Unreadable orders are reported by `_check_orders`."""
    items = tables.get_order_items(intent.order_id for intent in charged if intent.order_id)
    for intent in charged:
        item = items.get(intent.order_id or "")
        order = read_order(item)
        if (order is not None or item is None) and not _is_explained(order, intent, grace_start):
            yield intent, order


def _is_explained(order: Order | None, intent: IntentSummary, grace_start: datetime) -> bool:
    """Return whether the order is in a state that fits a charge of this intent."""
    if order is not None and _is_confirmed_with(order, intent):
        own = [refund for refund in order.refunds if refund.payment_intent_id == intent.intent_id]
        # The reconciler sends an owed refund.
        is_owing = any(refund.is_owed for refund in own)
        return is_owing or refunded_amount(own) == intent.amount - intent.unrefunded_amount
    if not intent.unrefunded_amount:
        return True
    if order is None:
        return False
    late = find_late_refund(order.refunds, intent.intent_id)
    if late is not None:
        # A refund that is recorded as sent, but is not, is a mismatch.
        # An unsuccessful one is known: an admin decides.
        return late.is_owed or late.is_unsuccessful or late.created_at > grace_start
    if order.payment_intent_id != intent.intent_id:
        return False
    # The reconciler settles a pending order, and has its own alarm if it cannot.
    return order.status is OrderStatus.PENDING or (
        order.status is OrderStatus.CANCELLED and order.updated_at > grace_start
    )


def _is_confirmed_with(order: Order, intent: IntentSummary) -> bool:
    is_same_charge = (order.total_amount, order.currency) == (intent.amount, intent.currency)
    is_confirmed = order.status is OrderStatus.CONFIRMED and order.payment_intent_id == intent.intent_id
    return is_confirmed and is_same_charge


def _choose_kind(order: Order | None, intent: IntentSummary) -> FindingKind:
    if order is None:
        return FindingKind.CHARGED_FOR_UNKNOWN_ORDER
    if (order.total_amount, order.currency) != (intent.amount, intent.currency):
        return FindingKind.CHARGED_OTHER_AMOUNT
    return FindingKind.CHARGED_WITHOUT_ORDER


def _describe_charge(intent: IntentSummary) -> str:
    back = intent.amount - intent.unrefunded_amount
    return f"{intent.amount} {intent.currency}{f' of which {back} was refunded' if back else ''}"


def _describe_order(order: Order | None) -> str:
    if order is None:
        return "no such order"
    return f"the order {order.status} with {order.payment_intent_id or 'no payment'}"
