"""The calls that the dummy serves, each a function of the store: read, compute the next intent, write, answer.

A write that lost a race is computed again from what the winner left, so that every answer tells of a state that was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from dummy_stripe import bodies, payment_intents, refusals
from dummy_stripe.cards import PAYMENT_METHODS, Fault
from dummy_stripe.refusals import Refusal, Reply
from dummy_stripe.stores import Answer, IdempotencyRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dummy_stripe.parameters import (
        Cancellation,
        Confirmation,
        Creation,
        Listing,
        Refunding,
        RefundListing,
        RefundRetrieval,
        Retrieval,
    )
    from dummy_stripe.payment_intents import Charge, Intent, Refund
    from dummy_stripe.stores import Store

LOST_RACES: Final = 20
"""How often a call computes anew before it gives up with Stripe's `lock_timeout`."""


class Listed(Protocol):
    """What a list can hold."""

    @property
    def id(self) -> str: ...

    @property
    def created(self) -> float: ...


L = TypeVar("L", bound=Listed)


class NothingHappened(Exception):
    """The request is lost on its way: no effect, no answer."""


class Call(NamedTuple):
    """A request in execution: where its state is, its id, the time (Unix seconds), and its claim of a key, if any."""

    store: Store
    request_id: str
    now: float
    claim: IdempotencyRecord | None = None


def create(call: Call, creation: Creation) -> Answer:
    reply = Reply.PROMPT
    intent = payment_intents.create(creation, call.now)
    if creation.confirmation is not None:
        reply = _meet_faults(intent.payment_method)
        intent = _confirm(intent, creation.confirmation, call.now)
    answer = _payment_answer(call, intent, creation.expand, reply)
    # Nobody else knows the new intent's id, but its key's record may be in the middle of another write.
    if not call.store.write(replace(intent, version=1), _answered(call, answer)):
        raise refusals.lock_timeout()
    return answer


def confirm(call: Call, confirmation: Confirmation, *, intent_id: str) -> Answer:
    def change(intent: Intent) -> tuple[Intent, Answer]:
        if confirmation.payment_method is not None:
            payment_intents.find_payment_method(confirmation.payment_method)
        reply = _meet_faults(confirmation.payment_method or intent.payment_method)
        try:
            confirmed = payment_intents.confirm(intent, confirmation, call.now)
        except Refusal as refused:
            # A token that loses every reply to a confirmation loses a refusal, too; only a payment takes its time.
            refused.reply = Reply.LOST if reply is Reply.LOST else Reply.PROMPT
            raise
        return confirmed, _payment_answer(call, confirmed, confirmation.expand, reply)

    return _change(call, intent_id, change)


def cancel(call: Call, cancellation: Cancellation, *, intent_id: str) -> Answer:
    def change(intent: Intent) -> tuple[Intent, Answer]:
        cancelled = payment_intents.cancel(intent, cancellation, call.now)
        return cancelled, _answer(call, bodies.payment_intent(cancelled, cancellation.expand))

    return _change(call, intent_id, change)


def retrieve(call: Call, retrieval: Retrieval, *, intent_id: str) -> Answer:
    stored = call.store.intent(intent_id)
    if stored is None:
        raise refusals.no_such_intent(intent_id)
    intent = payment_intents.settle(stored, call.now)
    if intent is not stored:
        # For the ledger's sake. Whoever wins a race here has written the same, by the same clock.
        call.store.write(replace(intent, version=stored.version + 1), None)
    return _answer(call, bodies.payment_intent(intent, retrieval.expand))


def list_intents(call: Call, listing: Listing) -> Answer:
    chosen, has_more = _page(call.store.intents(), listing, "payment_intent")
    data = [bodies.payment_intent(payment_intents.settle(intent, call.now), listing.expand) for intent in chosen]
    return _answer(call, bodies.page(data, has_more=has_more, url="/v1/payment_intents"))


def refund(call: Call, refunding: Refunding) -> Answer:
    """Give a charge back, in whole or in part. A refund is part of its intent, so that rivals cannot both be paid."""

    def change(intent: Intent) -> tuple[Intent, Answer]:
        refunded = payment_intents.refund(intent, refunding, call.now)
        of = next(charge for charge in refunded.charges if charge.refunds)
        return refunded, _answer(call, bodies.refund(of.refunds[-1], of, refunded, refunding.expand))

    intent_id = refunding.payment_intent or _intent_of(call, refunding.charge or "")
    return _change(call, intent_id, change)


def retrieve_refund(call: Call, retrieval: RefundRetrieval, *, refund_id: str) -> Answer:
    for refund, charge, intent in _refunds(call):
        if refund.id == refund_id:
            return _answer(call, bodies.refund(refund, charge, intent, retrieval.expand))
    raise refusals.no_such_refund(refund_id)


def list_refunds(call: Call, listing: RefundListing) -> Answer:
    found = {
        refund.id: (refund, charge, intent)
        for refund, charge, intent in _refunds(call)
        if listing.charge in {None, charge.id} and listing.payment_intent in {None, intent.id}
    }
    chosen, has_more = _page([refund for refund, _, _ in found.values()], listing.page, "refund")
    data = [bodies.refund(*found[refund.id], listing.page.expand) for refund in chosen]
    return _answer(call, bodies.page(data, has_more=has_more, url="/v1/refunds"))


def _refunds(call: Call) -> Iterator[tuple[Refund, Charge, Intent]]:
    for intent in call.store.intents():
        for charge in intent.charges:
            for refund in charge.refunds:
                yield refund, charge, intent


def _intent_of(call: Call, charge_id: str) -> str:
    for charge in call.store.charges():
        if charge.id == charge_id:
            return charge.payment_intent
    raise refusals.no_such_charge(charge_id)


def _page(objects: Iterable[L], listing: Listing, kind: str) -> tuple[list[L], bool]:
    """A page, newest first, and whether there is more. With `ending_before` it ends right before that object."""
    newest_first = sorted(objects, key=lambda listed: (listed.created, listed.id), reverse=True)
    ids = [listed.id for listed in newest_first]
    for name, cursor in (("starting_after", listing.starting_after), ("ending_before", listing.ending_before)):
        if cursor is not None and cursor not in ids:
            raise refusals.no_such_cursor(name, kind, cursor)
    if listing.ending_before is not None:
        newer = newest_first[: ids.index(listing.ending_before)]
        return newer[-listing.limit :], len(newer) > listing.limit
    start = 0 if listing.starting_after is None else ids.index(listing.starting_after) + 1
    older = newest_first[start:]
    return older[: listing.limit], len(older) > listing.limit


def _change(call: Call, intent_id: str, change: Callable[[Intent], tuple[Intent, Answer]]) -> Answer:
    for _ in range(LOST_RACES):
        stored = call.store.intent(intent_id)
        if stored is None:
            raise refusals.no_such_intent(intent_id)
        changed, answer = change(payment_intents.settle(stored, call.now))
        if call.store.write(replace(changed, version=stored.version + 1), _answered(call, answer)):
            return answer
    raise refusals.lock_timeout()


def _confirm(intent: Intent, confirmation: Confirmation, now: float) -> Intent:
    try:
        return payment_intents.confirm(intent, confirmation, now)
    except Refusal as refused:
        refused.intent = None  # it was never created
        raise


def _meet_faults(token: str | None) -> Reply:
    """What a fault token does before the charge, and how the answer travels after it."""
    fault = PAYMENT_METHODS[token].fault if token is not None else None
    match fault:
        case Fault.TIMEOUT_BEFORE_CHARGE:
            raise NothingHappened
        case Fault.API_ERROR:
            raise refusals.api_error()
        case Fault.RATE_LIMITED:
            raise refusals.rate_limited()
        case Fault.TIMEOUT_AFTER_CHARGE:
            return Reply.LOST
        case Fault.SLOW:
            return Reply.SLOW
    return Reply.PROMPT


def _payment_answer(call: Call, intent: Intent, expand: frozenset[str], reply: Reply) -> Answer:
    if intent.last_failure is not None:
        body = bodies.failed_payment(intent, intent.last_failure, call.request_id, call.now)
        return _answer(call, body, status=402, reply=reply)
    return _answer(call, bodies.payment_intent(intent, expand), reply=reply)


def _answer(call: Call, body: dict[str, Any], *, status: int = 200, reply: Reply = Reply.PROMPT) -> Answer:
    return Answer(status, json.dumps(body), call.request_id, reply=reply)


def _answered(call: Call, answer: Answer) -> IdempotencyRecord | None:
    return call.claim and call.claim.answered(answer)
