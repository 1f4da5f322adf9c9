"""Calls that the dummy serves. Each reads from the store, computes the next intent, writes it and responds.

A call whose write lost a race is computed again from the stored intent, so that each response shows a state that
existed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from dummy_stripe import bodies, parameters, payment_intents, refusals, stores
from dummy_stripe.cards import PAYMENT_METHODS, Fault
from dummy_stripe.refusals import Refusal
from dummy_stripe.responses import Reply, Response
from dummy_stripe.stores import IdempotencyRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dummy_stripe.expansions import Expansion
    from dummy_stripe.objects import ChargeRefund, Intent
    from dummy_stripe.parameters import (
        CancelParams,
        ConfirmParams,
        CreateParams,
        ListParams,
        RefundListParams,
        RefundParams,
        RefundUpdateParams,
    )
    from dummy_stripe.stores import Store

MAXIMUM_WRITE_TRIES: Final = 20
"""Writes that a call tries before it fails with Stripe's `lock_timeout`."""


Listed = TypeVar("Listed", "ChargeRefund", "Intent")


class RequestLost(Exception):
    """The request was lost: it has no effect and no response."""


class Call(NamedTuple):
    """A request in execution. `now` is in Unix seconds; `claim` is its claim of an idempotency key, if it has one."""

    store: Store
    request_id: str
    now: float
    claim: IdempotencyRecord | None = None


def create(call: Call, params: CreateParams) -> Response:
    reply = Reply.PROMPT
    intent = payment_intents.create(params, call.now)
    if params.confirm is not None:
        reply = _apply_fault(intent.payment_method)
        intent = _confirm(intent, params.confirm, call.now)
    response = _payment_response(call, intent, params.expand, reply)
    # No other call knows the new intent's id, but another write of the key's record may be in progress.
    if not call.store.write(replace(intent, version=1), _with_response(call, response)):
        raise refusals.lock_timeout()
    return response


def confirm(call: Call, params: ConfirmParams, *, intent_id: str) -> Response:
    def change(intent: Intent) -> tuple[Intent, Response]:
        if params.payment_method is not None:
            payment_intents.find_payment_method(params.payment_method)
        reply = _apply_fault(params.payment_method or intent.payment_method)
        try:
            confirmed = payment_intents.confirm(intent, params, call.now)
        except Refusal as refused:
            # A token that loses every response to a confirmation loses a refusal, too. Only a payment is slow.
            refused.reply = Reply.LOST if reply is Reply.LOST else Reply.PROMPT
            raise
        return confirmed, _payment_response(call, confirmed, params.expand, reply)

    return _change(call, intent_id, change)


def cancel(call: Call, params: CancelParams, *, intent_id: str) -> Response:
    def change(intent: Intent) -> tuple[Intent, Response]:
        cancelled = payment_intents.cancel(intent, params, call.now)
        return cancelled, _response(call, bodies.payment_intent(cancelled, params.expand))

    return _change(call, intent_id, change)


def retrieve(call: Call, expand: Expansion, *, intent_id: str) -> Response:
    stored = call.store.intent(intent_id)
    if stored is None:
        raise refusals.no_such_intent(intent_id)
    return _response(call, bodies.payment_intent(_update(call, stored), expand))


def list_intents(call: Call, params: ListParams) -> Response:
    chosen, has_more = _page(call.store.intents(), params, "payment_intent")
    data = [bodies.payment_intent(_update(call, intent), params.expand) for intent in chosen]
    return _response(call, bodies.page(data, has_more=has_more, url="/v1/payment_intents"))


def refund(call: Call, params: RefundParams) -> Response:
    """Refund a charge in full or in part. A refund is stored in its intent, so concurrent refunds cannot exceed it."""

    def change(intent: Intent) -> tuple[Intent, Response]:
        refunded = payment_intents.refund(intent, params, call.now)
        *_, new = refunded.refunds
        return refunded, _response(call, bodies.refund(refunded, new.id, params.expand))

    intent_id = params.payment_intent or _find_intent_id(call, params.charge or "")
    return _change(call, intent_id, change)


def retrieve_refund(call: Call, expand: Expansion, *, refund_id: str) -> Response:
    intent = _update(call, _find_intent_of_refund(call, refund_id))
    return _response(call, bodies.refund(intent, refund_id, expand))


def update_refund(call: Call, params: RefundUpdateParams, *, refund_id: str) -> Response:
    def change(intent: Intent) -> tuple[Intent, Response]:
        refund = next(refund for refund in intent.refunds if refund.id == refund_id)
        metadata = {} if params.metadata is None else {**refund.metadata, **params.metadata}
        kept = {key: value for key, value in metadata.items() if value}
        parameters.refuse_metadata(kept)
        changed = payment_intents.replace_refund(intent, replace(refund, metadata=kept))
        return changed, _response(call, bodies.refund(changed, refund_id, params.expand))

    return _change(call, _find_intent_of_refund(call, refund_id).id, change)


def cancel_refund(call: Call, *, refund_id: str) -> Response:
    """Refuse to cancel a refund. Stripe cancels only a refund that requires action, and a card's never does."""
    intent = _update(call, _find_intent_of_refund(call, refund_id))
    refund = next(refund for refund in intent.refunds if refund.id == refund_id)
    raise refusals.cannot_cancel_refund(refund_id, refund.status)


def list_refunds(call: Call, params: RefundListParams) -> Response:
    found = [
        (refund, intent)
        for intent in _intents_with_refunds(call, params.payment_intent)
        for charge in intent.charges
        if params.charge in {None, charge.id}
        for refund in charge.refunds
    ]
    chosen, has_more = _page([refund for refund, _ in found], params.page, "refund")
    intents = {refund.id: intent for refund, intent in found}
    data = [bodies.refund(intents[refund.id], refund.id, params.page.expand) for refund in chosen]
    return _response(call, bodies.page(data, has_more=has_more, url="/v1/refunds"))


def _intents_with_refunds(call: Call, intent_id: str | None) -> Iterator[Intent]:
    stored = call.store.intents() if intent_id is None else [call.store.intent(intent_id)]
    for intent in stored:
        if intent is not None and any(intent.refunds):
            yield _update(call, intent)


def _find_intent_of_refund(call: Call, refund_id: str) -> Intent:
    intent = stores.find_intent_of_refund(call.store, refund_id)
    if intent is None:
        raise refusals.no_such_refund(refund_id)
    return intent


def _find_intent_id(call: Call, charge_id: str) -> str:
    for charge in call.store.charges():
        if charge.id == charge_id:
            return charge.payment_intent
    raise refusals.no_such_charge(charge_id)


def _page(objects: Iterable[Listed], params: ListParams, kind: str) -> tuple[list[Listed], bool]:
    """Return a page, newest first, and whether there is more. With `ending_before` it ends just before that object."""
    newest_first = sorted(objects, key=lambda listed: (listed.created, listed.id), reverse=True)
    ids = [listed.id for listed in newest_first]
    for name, cursor in (("starting_after", params.starting_after), ("ending_before", params.ending_before)):
        if cursor is not None and cursor not in ids:
            raise refusals.no_such_cursor(name, kind, cursor)
    if params.ending_before is not None:
        newer = newest_first[: ids.index(params.ending_before)]
        newer = [listed for listed in newer if int(listed.created) in params.created]
        return newer[-params.limit :], len(newer) > params.limit
    start = 0 if params.starting_after is None else ids.index(params.starting_after) + 1
    older = [listed for listed in newest_first[start:] if int(listed.created) in params.created]
    return older[: params.limit], len(older) > params.limit


def _update(call: Call, stored: Intent) -> Intent:
    """Return the intent in its present state. Write it if a change was due, so that the ledger has the change."""
    for _ in range(MAXIMUM_WRITE_TRIES):
        intent = payment_intents.apply_due_changes(stored, call.now)
        if intent is stored or call.store.write(replace(intent, version=stored.version + 1), None):
            return intent
        # Another call has written the intent since it was read.
        stored = call.store.intent(stored.id) or stored
    raise refusals.lock_timeout()


def _change(call: Call, intent_id: str, change: Callable[[Intent], tuple[Intent, Response]]) -> Response:
    for _ in range(MAXIMUM_WRITE_TRIES):
        stored = call.store.intent(intent_id)
        if stored is None:
            raise refusals.no_such_intent(intent_id)
        changed, response = change(payment_intents.apply_due_changes(stored, call.now))
        if call.store.write(replace(changed, version=stored.version + 1), _with_response(call, response)):
            return response
    raise refusals.lock_timeout()


def _confirm(intent: Intent, params: ConfirmParams, now: float) -> Intent:
    try:
        return payment_intents.confirm(intent, params, now)
    except Refusal as refused:
        refused.intent = None  # it was never created
        raise


def _apply_fault(token: str | None) -> Reply:
    """Raise a fault that occurs before the charge, or return how the response is delivered after it."""
    fault = PAYMENT_METHODS[token].fault if token is not None else None
    match fault:
        case Fault.TIMEOUT_BEFORE_CHARGE:
            raise RequestLost
        case Fault.API_ERROR:
            raise refusals.api_error()
        case Fault.RATE_LIMITED:
            raise refusals.rate_limited()
        case Fault.TIMEOUT_AFTER_CHARGE:
            return Reply.LOST
        case Fault.SLOW:
            return Reply.SLOW
    return Reply.PROMPT


def _payment_response(call: Call, intent: Intent, expand: Expansion, reply: Reply) -> Response:
    if intent.last_failure is not None:
        body = bodies.failed_payment(intent, intent.last_failure, call.request_id, call.now)
        return replace(_response(call, body, status=402, reply=reply), should_retry=False)
    return _response(call, bodies.payment_intent(intent, expand), reply=reply)


def _response(call: Call, body: dict[str, Any], *, status: int = 200, reply: Reply = Reply.PROMPT) -> Response:
    return Response(status, json.dumps(body), call.request_id, reply=reply)


def _with_response(call: Call, response: Response) -> IdempotencyRecord | None:
    return call.claim and call.claim.with_response(response)
