"""Control calls of the server, below `/_dummy/`. They act on the account of the caller's secret key.

Their parameters have the form of Stripe's, and so do their errors.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dummy_stripe import refusals
from dummy_stripe.accounts import Ending, Fault, FaultKind
from dummy_stripe.parameters import Form
from dummy_stripe.responses import SLOW_SECONDS, Response

if TYPE_CHECKING:
    from dummy_stripe.accounts import Account
    from dummy_stripe.api import Operation, Request
    from dummy_stripe.endpoints import Call

PREFIX: Final = "/_dummy/"


def find_operation(account: Account, request: Request) -> Operation:
    """Return the operation of a control call. Raises `Refusal` for an unknown path or invalid parameters."""
    form = Form(request.encoded)
    match (request.method, request.path.removeprefix(PREFIX)):
        case ("POST", "reset"):
            form.refuse_unknown(())
            return partial(_reset, account)
        case ("POST", "clock"):
            form.refuse_unknown({"advance"})
            form.required("advance")
            return partial(_advance, account, form.integer("advance") or 0)
        case ("POST", "faults"):
            return partial(_add_fault, account, _read_fault(form))
    raise refusals.unrecognized_url(request.method, request.path)


def _read_fault(form: Form) -> Fault:
    form.refuse_unknown({"fault", "path", "calls", "as", "seconds"})
    form.required("fault")
    return Fault(
        kind=FaultKind(form.choice("fault", tuple(FaultKind)) or ""),
        path=form.text("path") or "*",
        calls=form.integer("calls") or 1,
        ending=Ending(form.choice("as", tuple(Ending)) or Ending.TIMEOUT),
        seconds=form.integer("seconds") or SLOW_SECONDS,
    )


def _reset(account: Account, call: Call) -> Response:
    account.reset()
    return _response(call, {})


def _advance(account: Account, seconds: int, call: Call) -> Response:
    account.store.advance(seconds)
    return _response(call, {"now": int(account.now())})


def _add_fault(account: Account, fault: Fault, call: Call) -> Response:
    account.add_fault(fault)
    return _response(call, {"fault": fault.kind, "path": fault.path, "calls": fault.calls})


def _response(call: Call, body: dict[str, Any]) -> Response:
    return Response(200, json.dumps(body), call.request_id)
