"""Responses to HTTP requests of Stripe's API: API keys, addresses, idempotency keys and headers.

`endpoints` has what each call does.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dummy_stripe import bodies, endpoints, parameters, refusals
from dummy_stripe.endpoints import Call, RequestLost
from dummy_stripe.objects import new_id
from dummy_stripe.parameters import Form
from dummy_stripe.refusals import Refusal
from dummy_stripe.responses import Reply, Response
from dummy_stripe.stores import (
    CLAIM_SECONDS,
    IDEMPOTENCY_SECONDS,
    ClaimLost,
    IdempotencyRecord,
    Store,
)

_INTENTS = re.compile(r"/v1/payment_intents(?:/(?P<id>[^/]+)(?:/(?P<action>confirm|cancel))?)?")
_REFUNDS = re.compile(r"/v1/refunds(?:/(?P<id>[^/]+)(?:/(?P<action>cancel))?)?")
_KEY_KIND = re.compile(r"(?:sk|rk|pk)_(?:test|live)_")
# Stripe saves no response to a request that it did not execute.
_NEVER_SAVED: Final = frozenset({409, 429})
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_IDEMPOTENCY_KEY_LENGTH: Final = 255

Operation = Callable[[Call], Response]


class Headers(Mapping[str, str]):
    """HTTP headers with case-insensitive names."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Request(NamedTuple):
    """A request: `encoded` is the form in its body or query, `idempotency_key` is None except for POST."""

    id: str
    method: str
    path: str
    encoded: str
    idempotency_key: str | None
    content_type: str = _FORM_TYPE

    def refuse_malformed(self) -> None:
        """Raise `Refusal` for a body that is not a form, or an idempotency key that is too short or too long."""
        if self.method == "POST" and self.encoded and not self.content_type.startswith(_FORM_TYPE):
            raise refusals.unsupported_content_type(self.content_type)
        key = self.idempotency_key
        if key is not None and not 1 <= len(key) <= _IDEMPOTENCY_KEY_LENGTH:
            raise refusals.idempotency_key_length(len(key))


class HTTPResponse(NamedTuple):
    """A response as sent, and how it is delivered to the client."""

    status: int
    headers: Headers
    body: str
    reply: Reply


class StripeAPI:
    """Stripe's API on the state in `store`. As thread-safe as the store.

    `clock` returns the time in Unix seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def respond(self, method: str, url: str, headers: Mapping[str, str], body: str) -> HTTPResponse:
        """Return the response to a request. A refused request gets an error response.

        Raises `RequestLost` if a fault token loses the request, and `StoreUnavailable`.
        """
        sent = Headers(headers)
        address = urlsplit(url)
        is_post = method.upper() == "POST"
        request = Request(
            id=new_id("req_", 14),
            method=method.upper(),
            path=address.path,
            encoded=body if is_post else address.query,
            idempotency_key=sent.get("Idempotency-Key") if is_post else None,
            content_type=sent.get("Content-Type", ""),
        )
        response = self._respond(request, sent.get("Authorization"))
        return HTTPResponse(response.status, _headers(request, response, sent), response.body, response.reply)

    def _respond(self, request: Request, authorization: str | None) -> Response:
        try:
            read_secret_key(authorization)
            request.refuse_malformed()
            # An invalid request is refused before it claims its idempotency key: Stripe saves a response only once
            # execution has begun.
            operation = self._operation(request)
            if request.idempotency_key is None:
                return operation(Call(self._store, request.id, self._clock()))
            return self._once(request, request.idempotency_key, operation)
        except Refusal as refused:
            return self._refuse(request, refused)

    def _operation(self, request: Request) -> Operation:
        """Return the call for a request. Raises `Refusal` for an unknown path or invalid parameters."""
        return find_operation(request)

    def _once(self, request: Request, key: str, operation: Operation) -> Response:
        """Run the first request with an idempotency key; replay its response to later ones."""
        now = self._clock()
        claim = IdempotencyRecord(
            key=key,
            owner=request.id,
            endpoint=request.path,
            fingerprint=_fingerprint(request),
            claimed_until=now + CLAIM_SECONDS,
            expires_at=now + IDEMPOTENCY_SECONDS,
        )
        try:
            earlier = self._store.claim(claim, now)
            if earlier is not None:
                return _replay(claim, earlier)
            try:
                return operation(Call(self._store, request.id, now, claim))
            except RequestLost:
                self._store.release(claim)
                raise
            except Refusal as refused:
                if refused.status in _NEVER_SAVED:
                    self._store.release(claim)
                    raise
                # A retry would get the same response again.
                response = replace(self._refuse(request, refused), should_retry=False)
                self._store.finish(claim.with_response(response))
                return response
        except ClaimLost:
            raise refusals.idempotency_key_in_use(key) from None

    def _refuse(self, request: Request, refused: Refusal) -> Response:
        body = json.dumps(bodies.refusal(refused, request.id, self._clock()))
        return Response(
            refused.status, body, request.id, refused.should_retry, refused.reply, refused.rate_limited_reason
        )


def find_operation(request: Request) -> Operation:
    """Return the call for a request. Raises `Refusal` for an unknown path or invalid parameters."""
    form = Form(request.encoded)
    if found := _REFUNDS.fullmatch(request.path):
        return _refund_operation(request, form, found["id"], found["action"])
    found = _INTENTS.fullmatch(request.path)
    intent_id, action = found.group("id", "action") if found else (None, None)
    match (found is not None, request.method, intent_id, action):
        case (True, "POST", None, None):
            return partial(endpoints.create, params=parameters.CreateParams.read(form))
        case (True, "GET", None, None):
            return partial(endpoints.list_intents, params=parameters.ListParams.read(form))
        case (True, "GET", str(), None) if intent_id != "search":
            expand = form.only_expansion("payment_intent")
            return partial(endpoints.retrieve, expand=expand, intent_id=intent_id)
        case (True, "POST", str(), "confirm"):
            return partial(endpoints.confirm, params=parameters.ConfirmParams.read(form), intent_id=intent_id)
        case (True, "POST", str(), "cancel"):
            return partial(endpoints.cancel, params=parameters.CancelParams.read(form), intent_id=intent_id)
    raise refusals.unrecognized_url(request.method, request.path)


def _refund_operation(request: Request, form: Form, refund_id: str | None, action: str | None) -> Operation:
    match (request.method, refund_id, action):
        case ("POST", None, None):
            return partial(endpoints.refund, params=parameters.RefundParams.read(form))
        case ("GET", None, None):
            return partial(endpoints.list_refunds, params=parameters.RefundListParams.read(form))
        case ("GET", str(), None):
            expand = form.only_expansion("refund")
            return partial(endpoints.retrieve_refund, expand=expand, refund_id=refund_id)
        case ("POST", str(), None):
            params = parameters.RefundUpdateParams.read(form)
            return partial(endpoints.update_refund, params=params, refund_id=refund_id)
        case ("POST", str(), "cancel"):
            form.only_expansion("refund")
            return partial(endpoints.cancel_refund, refund_id=refund_id)
    raise refusals.unrecognized_url(request.method, request.path)


def read_secret_key(authorization: str | None) -> str:
    """Return the secret key of an `Authorization` header: a Bearer token, or the user name of Basic authentication.

    Raises `Refusal` if it is not a test mode key.
    """
    scheme, _, value = (authorization or "").partition(" ")
    key = ""
    if scheme.lower() in {"basic", "bearer"}:
        key = value.strip() if scheme.lower() == "bearer" else _user_name(value)
    if not key:
        raise refusals.invalid_key(None)
    kind = _KEY_KIND.match(key)
    if not key.startswith("sk_test_") or key == "sk_test_":
        # Unlike Stripe, do not show the last characters: the refused key may be a live one.
        raise refusals.invalid_key(f"{kind.group() if kind else ''}****")
    return key


def _user_name(credentials: str) -> str:
    try:
        return binascii.a2b_base64(credentials).decode().partition(":")[0]
    except ValueError:
        return ""


def _fingerprint(request: Request) -> str:
    fields = sorted(Form(request.encoded).values.items())
    return hashlib.sha256(json.dumps([request.path, fields]).encode()).hexdigest()


def _replay(claim: IdempotencyRecord, earlier: IdempotencyRecord) -> Response:
    if earlier.endpoint != claim.endpoint:
        raise refusals.idempotency_error(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{claim.endpoint}' vs '{earlier.endpoint}'). Try using a key other than '{claim.key}' if you meant to"
            " execute a different request."
        )
    if earlier.fingerprint != claim.fingerprint:
        raise refusals.idempotency_error(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{claim.key}' if you meant to execute a different request."
        )
    if earlier.response is None:
        raise refusals.idempotency_key_in_use(claim.key)
    # Only the payment is slow, not its replayed response.
    prompt = Reply.PROMPT if earlier.response.reply is Reply.SLOW else earlier.response.reply
    return replace(earlier.response, reply=prompt)


def _headers(request: Request, response: Response, sent: Headers) -> Headers:
    headers = {
        "Cache-Control": "no-cache, no-store",
        "Content-Type": "application/json",
        "Request-Id": request.id,
        "Stripe-Version": sent.get("Stripe-Version") or bodies.API_VERSION,
    }
    if request.idempotency_key is not None:
        headers |= {"Idempotency-Key": request.idempotency_key, "Original-Request": response.request_id}
    if response.request_id != request.id:
        headers["Idempotent-Replayed"] = "true"
    if response.should_retry is not None:
        headers["Stripe-Should-Retry"] = str(response.should_retry).lower()
    if response.rate_limited_reason is not None:
        headers["Stripe-Rate-Limited-Reason"] = response.rate_limited_reason
    if response.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
    return Headers(headers)
