"""Whether orders, stock and Stripe's charges fit together, looked up page by page. Changes nothing.

The store goes on while it is audited, and a race must not be reported. So each check rests on what is true at one
moment. An item is written whole, and a strongly consistent read returns it so. A charge is younger than `CHARGE_GRACE`,
or its order has had the time to follow. The stock cannot be seen at one moment, because a product and its payments in
flight are many items: there a difference counts if neither the product nor the set of its payments has changed between
looks that are `LOOK_AGAIN_AFTER` apart, by which time the index has everything. What changes all the time cannot be
judged and is counted as such, and the next audit looks at it again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from order_payments.audit.report import Audit, Finding, Kind, Phase, Suspect
from order_payments.audit.tables import AuditedTables, Held, is_listed, readable
from order_payments.domain.errors import PaymentProviderError
from order_payments.domain.orders import Order, OrderStatus, is_order_id
from order_payments.domain.products import MAXIMUM_STOCK, faults_in_stock
from order_payments.runtime.clock import Deadline, from_rfc3339, utc_now
from order_payments.storage.dynamodb import Item
from order_payments.storage.products_table import InvalidProductItem, is_product_item, product_from_item, stock_in
from order_payments.stripe_adapter.outcomes import ChargeRefunded, IntentState, IntentSummary, Paid, Unknown

if TYPE_CHECKING:
    from order_payments.stripe_adapter.gateway import StripeGateway

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

CHARGE_GRACE = timedelta(minutes=10)
"""How long a charge may be ahead of its order: the reconciler, or Stripe's news, settles it within minutes."""

LOOKS = 5
STANDS_FOR_LOOKS = 2
PAGE = 50
STRIPE_CALLS_AT_ONCE = 4
TIME_FOR_A_PAGE_SECONDS = 150.0
"""What a page may take where Stripe is slow: fifty orders, four at a time, of which each call gives up after ten."""


def go_on(audit: Audit, *, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> Audit:
    """Look at as many pages as there is time for. Returns where the audit is then: done, or to be gone on with."""
    audit.wait_seconds = 0
    while not audit.done and not audit.wait_seconds and deadline.remaining() > TIME_FOR_A_PAGE_SECONDS:
        if audit.unanswered_orders or audit.unanswered_charges:
            _ask_stripe_again(audit, tables, stripe, deadline)
            continue
        match audit.phase:
            case Phase.PRODUCTS:
                _look_at_products(audit, tables)
            case Phase.ORDERS:
                _look_at_orders(audit, tables, stripe, deadline)
            case Phase.CHARGES:
                _look_at_charges(audit, tables, stripe, deadline)
            case Phase.SUSPECTS:
                _wait_for_next_look(audit)
            case Phase.LOOK_AGAIN:
                _look_at_suspects(audit, tables)
            case Phase.DONE:
                audit.done = True
    return audit


def _look_at_products(audit: Audit, tables: AuditedTables) -> None:
    held = tables.held()
    if audit.after is None:
        for product_id in held:
            _look_for_product(audit, product_id, held[product_id], tables)
    page = tables.products_page(limit=PAGE, after=audit.after)
    doubtful: list[str] = []
    for item in page.items:
        audit.products += 1
        if not is_product_item(item):
            continue
        product_id = str(item["productId"])
        try:
            product = product_from_item(item)
        except InvalidProductItem as invalid:
            audit.report(_not_for_sale(product_id, item, invalid))
            continue
        if product.reserved != held.get(product_id, Held()).units:
            doubtful.append(product_id)
    if doubtful:
        # Mostly because somebody paid between the two looks, where many do: they would crowd out who stays a suspect.
        held = tables.held()
        for product_id in doubtful:
            if (suspect := _suspect(product_id, held, tables)) is not None:
                audit.suspect(suspect)
    audit.next_page(page.last, Phase.ORDERS)


def _not_for_sale(product_id: str, item: Item, invalid: InvalidProductItem) -> Finding:
    numbers = stock_in(item)
    if numbers is not None and any(faults_in_stock(*numbers)):
        return Finding(
            kind=Kind.STOCK_OUT_OF_RANGE,
            product_id=product_id,
            found=f"stock {numbers[0]}, available {numbers[1]}",
            expected=f"0 <= available <= stock <= {MAXIMUM_STOCK}",
        )
    return Finding(
        kind=Kind.PRODUCT_UNREADABLE, product_id=product_id, found=str(invalid), expected="a product that can be sold"
    )


def _look_for_product(audit: Audit, product_id: str, held: Held, tables: AuditedTables) -> None:
    """Report a product that is gone while payments hold some of it: they can never be settled."""
    item = tables.product_item(product_id)
    if item is None or not is_product_item(item):
        found = f"no such product, and {held.units} held by payments in flight"
        audit.report(
            Finding(
                kind=Kind.PRODUCT_MISSING, product_id=product_id, found=found, expected="the product that they hold"
            )
        )


def _wait_for_next_look(audit: Audit) -> None:
    if not audit.suspects or audit.looks == LOOKS:
        for suspect in audit.suspects:
            audit.leave_unjudged(product_id=suspect.product_id)
        audit.suspects = []
        audit.phase = Phase.DONE
        return
    # The last look may have been a moment ago.
    audit.wait_seconds = audit.look_again_after_seconds
    audit.phase = Phase.LOOK_AGAIN


def _look_at_suspects(audit: Audit, tables: AuditedTables) -> None:
    audit.looks += 1
    held = tables.held()
    still: list[Suspect] = []
    for before in audit.suspects:
        now = _suspect(before.product_id, held, tables)
        if now is None:
            continue
        if now == before.model_copy(update={"stands": 0}):
            now.stands = before.stands + 1
        if now.stands < STANDS_FOR_LOOKS:
            still.append(now)
            continue
        audit.report(
            Finding(
                kind=Kind.HOLDS_DIFFER,
                product_id=now.product_id,
                found=f"{now.stock - now.available} held: stock {now.stock}, available {now.available}",
                expected=f"{now.held} held, by payments in flight",
            )
        )
    audit.suspects = still
    audit.phase = Phase.SUSPECTS


def _suspect(product_id: str, all_held: Mapping[str, Held], tables: AuditedTables) -> Suspect | None:
    """The product as it is now, if its holds are not what is held of it."""
    numbers = stock_in(tables.product_item(product_id) or {})
    held = all_held.get(product_id, Held())
    if numbers is None or numbers[0] - numbers[1] == held.units:
        return None
    stock, available = numbers
    return Suspect(product_id=product_id, stock=stock, available=available, held=held.units, digest=held.digest)


def _look_at_orders(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    page = tables.orders_page(limit=PAGE, after=audit.after)
    since = from_rfc3339(audit.since)
    to_ask: list[Order] = []
    for item in page.items:
        audit.orders += 1
        if next(_faults_of(item), None) is not None:
            # The page may be older than a write that was under way; an item by itself is read as it is.
            for finding in _faults_of(tables.order_item(item["orderId"])):
                audit.report(finding)
        order = readable(item)
        if order is not None and order.status is OrderStatus.CONFIRMED and not order.override:
            if order.attempt is None:
                audit.report(_without_charge(order, "no payment"))
            elif order.updated_at >= since:
                to_ask.append(order)
    _ask_stripe(audit, to_ask, stripe, deadline)
    audit.next_page(page.last, Phase.CHARGES)


def _faults_of(item: Item | None) -> Iterator[Finding]:
    """What is wrong with an order's item by itself."""
    if item is None:
        return
    order = readable(item)
    order_id = str(item.get("orderId"))
    if order is None:
        yield Finding(kind=Kind.ORDER_UNREADABLE, order_id=order_id, found="no order", expected="an order")
        return
    total = sum(line.quantity * line.unit_price for line in order.lines)
    if order.total_amount != total or any(line.quantity < 1 or line.unit_price < 0 for line in order.lines):
        yield Finding(
            kind=Kind.ORDER_DOES_NOT_ADD_UP,
            order_id=order_id,
            found=f"a total of {order.total_amount} {order.currency}, lines of {total}",
            expected="a total that is the sum of its lines, each of some units",
        )
    to_settle = order.in_flight or order.owes_refund
    if to_settle and not is_listed(item):
        what = "a payment in flight" if order.in_flight else "a refund owed"
        yield Finding(
            kind=Kind.NOT_LISTED,
            order_id=order_id,
            found=f"{what}, not listed where it is looked for",
            expected="listed",
        )
    if {"unsettledShard", "unsettledSince"} <= item.keys() and not to_settle:
        found = f"{order.status}, listed as unsettled"
        yield Finding(kind=Kind.LISTED, order_id=order_id, found=found, expected="not listed")


def _ask_stripe(audit: Audit, orders: Sequence[Order], stripe: "StripeGateway", deadline: Deadline) -> None:
    """Hold confirmed orders against their charges."""

    def ask(order: Order) -> IntentState:
        return stripe.retrieve_state(order, order.payment_intent_id or "", deadline=deadline)

    for order, state in _answers(ask, orders):
        if isinstance(state, Unknown):
            if audit.may_ask_stripe_again(order.order_id):
                audit.unanswered_orders.append(order.order_id)
            else:
                audit.leave_unjudged(order_id=order.order_id)
        # What a person refunds of a confirmed order is theirs to know.
        elif not isinstance(state, Paid | ChargeRefunded):
            audit.report(_without_charge(order, type(state).__name__.lower()))


def _ask_stripe_again(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    """Ask about the orders and charges that Stripe did not answer about, once."""
    order_ids, audit.unanswered_orders = audit.unanswered_orders, []
    intent_ids, audit.unanswered_charges = audit.unanswered_charges, []
    audit.stripe_retries += 1
    orders = [order for item in tables.order_items(order_ids).values() if (order := readable(item)) is not None]
    _ask_stripe(audit, orders, stripe, deadline)
    _look_at_charges_again(audit, intent_ids, tables, stripe, deadline)


def _answers(ask: Callable[[_Asked], _Answer], about: Sequence[_Asked]) -> Iterator[tuple[_Asked, _Answer]]:
    """What is asked about each, a few at a time: Stripe limits how often it is asked."""
    with ThreadPoolExecutor(STRIPE_CALLS_AT_ONCE, thread_name_prefix="audit") as pool:
        yield from zip(about, pool.map(ask, about), strict=True)


def _without_charge(order: Order, found: str) -> Finding:
    return Finding(
        kind=Kind.CONFIRMED_WITHOUT_CHARGE,
        order_id=order.order_id,
        payment_intent_id=order.payment_intent_id,
        found=found,
        expected=f"a charge of {order.total_amount} {order.currency}",
    )


def _look_at_charges(audit: Audit, tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline) -> None:
    intents, last = stripe.list_intents(after=audit.after, deadline=deadline)
    since, ripe = from_rfc3339(audit.since), utc_now() - CHARGE_GRACE
    in_time = [intent for intent in intents if intent.created_at >= since]
    charged = [
        intent
        for intent in in_time
        if intent.charged_at is not None and intent.unrefunded_amount and is_order_id(intent.order_id or "")
    ]
    audit.charges += len(charged)
    unexplained = [
        intent.intent_id
        for intent, _ in _unexplained(charged, tables, ripe)
        if intent.charged_at is not None and intent.charged_at < ripe
    ]
    _look_at_charges_again(audit, unexplained, tables, stripe, deadline)
    audit.next_page(last if len(in_time) == len(intents) else None, Phase.SUSPECTS)


def _look_at_charges_again(
    audit: Audit, unexplained: Sequence[str], tables: AuditedTables, stripe: "StripeGateway", deadline: Deadline
) -> None:
    """Report charges that are still unexplained: since the page, money may have gone back or the order followed."""

    def ask(intent_id: str) -> IntentSummary | None:
        try:
            return stripe.retrieve_summary(intent_id, deadline=deadline)
        except PaymentProviderError:
            return None

    charged: list[IntentSummary] = []
    for intent_id, intent in _answers(ask, unexplained):
        if intent is not None:
            charged.append(intent)
        elif audit.may_ask_stripe_again(intent_id):
            audit.unanswered_charges.append(intent_id)
        else:
            audit.leave_unjudged(payment_intent_id=intent_id)
    for intent, order in _unexplained(charged, tables, ripe=utc_now() - CHARGE_GRACE):
        if intent.unrefunded_amount:
            audit.report(
                Finding(
                    kind=_kind_of(order, intent),
                    order_id=intent.order_id,
                    payment_intent_id=intent.intent_id,
                    found=f"a charge of {_charged(intent)}, {_state_of(order)}",
                    expected="the order confirmed with it, or the money sent back",
                )
            )


def _unexplained(
    charged: Sequence[IntentSummary], tables: AuditedTables, ripe: datetime
) -> Iterator[tuple[IntentSummary, Order | None]]:
    """Yield the charges that their orders do not explain. An unreadable order is reported as such, not here."""
    items = tables.order_items(intent.order_id for intent in charged if intent.order_id)
    for intent in charged:
        item = items.get(intent.order_id or "")
        order = readable(item)
        if (order is not None or item is None) and not _explains(order, intent, ripe):
            yield intent, order


def _explains(order: Order | None, intent: IntentSummary, ripe: datetime) -> bool:
    """Whether the order is as it should be where this intent was charged."""
    if order is None:
        return False
    if order.refund is not None and order.refund.payment_intent_id == intent.intent_id:
        # The reconciler sends it back. What is recorded as sent back, and is not, is wrong.
        return order.owes_refund or order.refund.owed_since > ripe
    if order.payment_intent_id != intent.intent_id:
        return False
    if order.status is OrderStatus.CONFIRMED:
        return (order.total_amount, order.currency) == (intent.amount, intent.currency)
    # The reconciler is at it, and an alarm of its own tells if it cannot.
    return order.status is OrderStatus.PENDING or order.updated_at > ripe


def _kind_of(order: Order | None, intent: IntentSummary) -> Kind:
    if order is None:
        return Kind.CHARGED_FOR_UNKNOWN_ORDER
    if (order.total_amount, order.currency) != (intent.amount, intent.currency):
        return Kind.CHARGED_OTHER_AMOUNT
    return Kind.CHARGED_WITHOUT_ORDER


def _charged(intent: IntentSummary) -> str:
    back = intent.amount - intent.unrefunded_amount
    return f"{intent.amount} {intent.currency}{f' of which {back} went back' if back else ''}"


def _state_of(order: Order | None) -> str:
    if order is None:
        return "no such order"
    return f"the order {order.status} with {order.payment_intent_id or 'no payment'}"
