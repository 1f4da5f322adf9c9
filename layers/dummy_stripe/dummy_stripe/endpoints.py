"""The calls that the dummy serves. Each reads from the store, computes the next intent, writes it and responds.

A write that lost a race is computed again from what the winner wrote, so that each response shows a state that existed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from dummy_stripe import bodies, payment_intents, refusals
from dummy_stripe.cards import PAYMENT_METHODS, Fault
from dummy_stripe.refusals import Refusal
from dummy_stripe.responses import Reply, Response
from dummy_stripe.stores import IdempotencyRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dummy_stripe.objects import Charge, ChargeRefund, Intent
    from dummy_stripe.parameters import (
        CancelParams,
        ConfirmParams,
        CreateParams,
        ListParams,
        RefundListParams,
        RefundParams,
    )
    from dummy_stripe.stores import Store

LOST_RACES: Final = 20
"""How many times a call is computed before it fails with Stripe's `lock_timeout`."""


Listed = TypeVar("Listed", "ChargeRefund", "Intent")


class NothingHappened(Exception):
    """The request is lost on its way: no effect, no response."""


class Call(NamedTuple):
    """A request in execution: where its state is, its id, the time (Unix seconds), and its claim of a key, if any."""

    store: Store
    request_id: str
    now: float
    claim: IdempotencyRecord | None = None


def create(call: Call, params: CreateParams) -> Response:
    reply = Reply.PROMPT
    intent = payment_intents.create(params, call.now)
    if params.confirm is not None:
        reply = _meet_faults(intent.payment_method)
        intent = _confirm(intent, params.confirm, call.now)
    response = _payment_response(call, intent, params.expand, reply)
    # Nobody else knows the new intent's id, but its key's record may be in the middle of another write.
    if not call.store.write(replace(intent, version=1), _with_response(call, response)):
        raise refusals.lock_timeout()
    return response


def confirm(call: Call, params: ConfirmParams, *, intent_id: str) -> Response:
    def change(intent: Intent) -> tuple[Intent, Response]:
        if params.payment_method is not None:
            payment_intents.find_payment_method(params.payment_method)
        reply = _meet_faults(params.payment_method or intent.payment_method)
        try:
            confirmed = payment_intents.confirm(intent, params, call.now)
        except Refusal as refused:
            # A token that loses every reply to a confirmation loses a refusal, too; only a payment takes its time.
            refused.reply = Reply.LOST if reply is Reply.LOST else Reply.PROMPT
            raise
        return confirmed, _payment_response(call, confirmed, params.expand, reply)

    return _change(call, intent_id, change)


def cancel(call: Call, params: CancelParams, *, intent_id: str) -> Response:
    def change(intent: Intent) -> tuple[Intent, Response]:
        cancelled = payment_intents.cancel(intent, params, call.now)
        return cancelled, _response(call, bodies.payment_intent(cancelled, params.expand))

    return _change(call, intent_id, change)


def retrieve(call: Call, expand: frozenset[str], *, intent_id: str) -> Response:
    stored = call.store.intent(intent_id)
    if stored is None:
        raise refusals.no_such_intent(intent_id)
    intent = payment_intents.finish_processing(stored, call.now)
    if intent is not stored:
        # For the ledger's sake. Whoever wins a race here has written the same, by the same clock.
        call.store.write(replace(intent, version=stored.version + 1), None)
    return _response(call, bodies.payment_intent(intent, expand))


def list_intents(call: Call, params: ListParams) -> Response:
    chosen, has_more = _page(call.store.intents(), params, "payment_intent")
    data = [
        bodies.payment_intent(payment_intents.finish_processing(intent, call.now), params.expand) for intent in chosen
    ]
    return _response(call, bodies.page(data, has_more=has_more, url="/v1/payment_intents"))


def refund(call: Call, params: RefundParams) -> Response:
    """Give a charge back, in whole or in part. A refund is part of its intent, so that rivals cannot both be paid."""

    def change(intent: Intent) -> tuple[Intent, Response]:
        refunded = payment_intents.refund(intent, params, call.now)
        of = next(charge for charge in refunded.charges if charge.refunds)
        return refunded, _response(call, bodies.refund(of.refunds[-1], of, refunded, params.expand))

    intent_id = params.payment_intent or _intent_of(call, params.charge or "")
    return _change(call, intent_id, change)


def retrieve_refund(call: Call, expand: frozenset[str], *, refund_id: str) -> Response:
    for refund, charge, intent in _refunds(call):
        if refund.id == refund_id:
            return _response(call, bodies.refund(refund, charge, intent, expand))
    raise refusals.no_such_refund(refund_id)


def list_refunds(call: Call, params: RefundListParams) -> Response:
    found = {
        refund.id: (refund, charge, intent)
        for refund, charge, intent in _refunds(call)
        if params.charge in {None, charge.id} and params.payment_intent in {None, intent.id}
    }
    chosen, has_more = _page([refund for refund, _, _ in found.values()], params.page, "refund")
    data = [bodies.refund(*found[refund.id], params.page.expand) for refund in chosen]
    return _response(call, bodies.page(data, has_more=has_more, url="/v1/refunds"))


def _refunds(call: Call) -> Iterator[tuple[ChargeRefund, Charge, Intent]]:
    for intent in call.store.intents():
        for charge in intent.charges:
            for refund in charge.refunds:
                yield refund, charge, intent


def _intent_of(call: Call, charge_id: str) -> str:
    for charge in call.store.charges():
        if charge.id == charge_id:
            return charge.payment_intent
    raise refusals.no_such_charge(charge_id)


def _page(objects: Iterable[Listed], params: ListParams, kind: str) -> tuple[list[Listed], bool]:
    """A page, newest first, and whether there is more. With `ending_before` it ends right before that object."""
    newest_first = sorted(objects, key=lambda listed: (listed.created, listed.id), reverse=True)
    ids = [listed.id for listed in newest_first]
    for name, cursor in (("starting_after", params.starting_after), ("ending_before", params.ending_before)):
        if cursor is not None and cursor not in ids:
            raise refusals.no_such_cursor(name, kind, cursor)
    if params.ending_before is not None:
        newer = newest_first[: ids.index(params.ending_before)]
        return newer[-params.limit :], len(newer) > params.limit
    start = 0 if params.starting_after is None else ids.index(params.starting_after) + 1
    older = newest_first[start:]
    return older[: params.limit], len(older) > params.limit


def _change(call: Call, intent_id: str, change: Callable[[Intent], tuple[Intent, Response]]) -> Response:
    for _ in range(LOST_RACES):
        stored = call.store.intent(intent_id)
        if stored is None:
            raise refusals.no_such_intent(intent_id)
        changed, response = change(payment_intents.finish_processing(stored, call.now))
        if call.store.write(replace(changed, version=stored.version + 1), _with_response(call, response)):
            return response
    raise refusals.lock_timeout()


def _confirm(intent: Intent, params: ConfirmParams, now: float) -> Intent:
    try:
        return payment_intents.confirm(intent, params, now)
    except Refusal as refused:
        refused.intent = None  # it was never created
        raise


def _meet_faults(token: str | None) -> Reply:
    """Raise what a fault token causes before the charge, or return how the response travels after it."""
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


def _payment_response(call: Call, intent: Intent, expand: frozenset[str], reply: Reply) -> Response:
    if intent.last_failure is not None:
        body = bodies.failed_payment(intent, intent.last_failure, call.request_id, call.now)
        return _response(call, body, status=402, reply=reply)
    return _response(call, bodies.payment_intent(intent, expand), reply=reply)


def _response(call: Call, body: dict[str, Any], *, status: int = 200, reply: Reply = Reply.PROMPT) -> Response:
    return Response(status, json.dumps(body), call.request_id, reply=reply)


def _with_response(call: Call, response: Response) -> IdempotencyRecord | None:
    return call.claim and call.claim.with_response(response)
