"""A Stripe that answers in this process, below the real SDK: `stripe.StripeClient(key, http_client=…)`.

The SDK encodes requests, chooses error classes and retries; this takes the place of the network and of Stripe. Here a
request is told apart (key, address, idempotency key) and its answer put on its way; what the calls do is in
`endpoints`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import stripe

from dummy_stripe import bodies, endpoints, parameters, refusals
from dummy_stripe.endpoints import Call, NothingHappened
from dummy_stripe.parameters import Form
from dummy_stripe.payment_intents import new_id
from dummy_stripe.refusals import Refusal, Reply
from dummy_stripe.stores import (
    CLAIM_SECONDS,
    IDEMPOTENCY_SECONDS,
    Answer,
    ClaimLost,
    IdempotencyRecord,
    Store,
    StoreUnavailable,
)

SLOW_SECONDS: Final = 3.0
"""How long the answer to a payment with `pm_dummy_slow` takes."""

DEFAULT_TIMEOUT: Final = 80.0
"""Read time-out in seconds, the one of the SDK's own clients."""

_INTENTS = re.compile(r"/v1/payment_intents(?:/(?P<id>[^/]+)(?:/(?P<action>confirm|cancel))?)?")
_REFUNDS = re.compile(r"/v1/refunds(?:/(?P<id>[^/]+))?")
_KEY_KIND = re.compile(r"(?:sk|rk|pk)_(?:test|live)_")
# Told to come again, or turned away at the door: what Stripe does not count as the request's answer.
_NEVER_SAVED = frozenset({409, 429})

Operation = Callable[[Call], Answer]


class Headers(Mapping[str, str]):
    """Response headers, found whatever the case of their name, as the SDK looks them up."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Request(NamedTuple):
    """A request as it arrives: `encoded` is the form in its body or query, `idempotency_key` None but for POST."""

    id: str
    method: str
    path: str
    encoded: str
    idempotency_key: str | None


class DummyStripeHTTPClient(stripe.HTTPClient):
    """The dummy Stripe. Safe to share between threads, as far as `store` is.

    Parameters
    ----------
    store
        Where its state is.
    timeout
        What a real client's read time-out would be, in seconds; may be set anew at any time. An answer that takes
        longer is lost, its effect is not.
    clock, sleep
        The time in Unix seconds, and how to wait for seconds.

    `request` raises `stripe.APIConnectionError` with `should_retry` for an answer that does not arrive, like the SDK's
    own clients; every refusal is an ordinary response.
    """

    name = "dummy"

    def __init__(
        self,
        store: Store,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.timeout = timeout
        self._store = store
        self._clock = clock
        self._sleep = sleep

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        sent = Headers(headers or {})
        address = urlsplit(url)
        is_post = method.upper() == "POST"
        request = Request(
            id=new_id("req_", 14),
            method=method.upper(),
            path=address.path,
            encoded=(post_data or "") if is_post else address.query,
            idempotency_key=sent.get("Idempotency-Key") if is_post else None,
        )
        try:
            answer = self._answer(request, sent.get("Authorization"))
        except NothingHappened:
            raise _no_reply("ReadTimeout: Read timed out.") from None
        except StoreUnavailable as error:
            raise _no_reply("ConnectionError: the table of the dummy Stripe did not answer.") from error
        self._deliver(answer)
        return answer.body, answer.status, _headers(request, answer, sent)

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, request: Request, authorization: str | None) -> Answer:
        try:
            _check_key(authorization)
            # What is wrong with the request itself is refused here, before it claims its idempotency key: Stripe
            # saves an answer only once execution has begun.
            operation = _operation(request)
            if request.idempotency_key is None:
                return operation(Call(self._store, request.id, self._clock()))
            return self._once(request, request.idempotency_key, operation)
        except Refusal as refused:
            return self._refuse(request, refused)

    def _once(self, request: Request, key: str, operation: Operation) -> Answer:
        """Run a request the first time its idempotency key comes, and replay its answer afterwards."""
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
            except NothingHappened:
                self._store.release(claim)
                raise
            except Refusal as refused:
                if refused.status in _NEVER_SAVED:
                    self._store.release(claim)
                    raise
                answer = self._refuse(request, refused)
                self._store.finish(claim.answered(answer))
                return answer
        except ClaimLost:
            raise refusals.idempotency_key_in_use(key) from None

    def _refuse(self, request: Request, refused: Refusal) -> Answer:
        body = json.dumps(bodies.refusal(refused, request.id, self._clock()))
        return Answer(refused.status, body, request.id, refused.should_retry, refused.reply)

    def _deliver(self, answer: Answer) -> None:
        """Let the time pass that the answer needs; an answer that takes longer than the time-out is lost."""
        if answer.reply is Reply.LOST:
            raise _no_reply("ReadTimeout: Read timed out.")
        if answer.reply is Reply.SLOW:
            self._sleep(min(SLOW_SECONDS, self.timeout))
            if self.timeout < SLOW_SECONDS:
                raise _no_reply("ReadTimeout: Read timed out.")


def _operation(request: Request) -> Operation:
    """The call that an address means, with its parameters read. Refused for unknown addresses and bad parameters."""
    form = Form(request.encoded)
    if found := _REFUNDS.fullmatch(request.path):
        return _refund_operation(request, form, found["id"])
    found = _INTENTS.fullmatch(request.path)
    intent_id, action = found.group("id", "action") if found else (None, None)
    match (found is not None, request.method, intent_id, action):
        case (True, "POST", None, None):
            return partial(endpoints.create, creation=parameters.Creation.read(form))
        case (True, "GET", None, None):
            return partial(endpoints.list_intents, listing=parameters.Listing.read(form))
        case (True, "GET", str(), None):
            return partial(endpoints.retrieve, retrieval=parameters.Retrieval.read(form), intent_id=intent_id)
        case (True, "POST", str(), "confirm"):
            return partial(endpoints.confirm, confirmation=parameters.Confirmation.read(form), intent_id=intent_id)
        case (True, "POST", str(), "cancel"):
            return partial(endpoints.cancel, cancellation=parameters.Cancellation.read(form), intent_id=intent_id)
    raise refusals.unrecognized_url(request.method, request.path)


def _refund_operation(request: Request, form: Form, refund_id: str | None) -> Operation:
    match (request.method, refund_id):
        case ("POST", None):
            return partial(endpoints.refund, refunding=parameters.Refunding.read(form))
        case ("GET", None):
            return partial(endpoints.list_refunds, listing=parameters.RefundListing.read(form))
        case ("GET", str()):
            retrieval = parameters.RefundRetrieval.read(form)
            return partial(endpoints.retrieve_refund, retrieval=retrieval, refund_id=refund_id)
    raise refusals.unrecognized_url(request.method, request.path)


def _check_key(authorization: str | None) -> None:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme != "Bearer" or not key:
        raise refusals.invalid_key(None)
    kind = _KEY_KIND.match(key)
    if not key.startswith("sk_test_") or key == "sk_test_":
        # Stripe shows the last characters too. Not here: the key turned away may be a live one.
        raise refusals.invalid_key(f"{kind.group() if kind else ''}****")


def _fingerprint(request: Request) -> str:
    fields = sorted(Form(request.encoded).values.items())
    return hashlib.sha256(json.dumps([request.path, fields]).encode()).hexdigest()


def _replay(claim: IdempotencyRecord, earlier: IdempotencyRecord) -> Answer:
    if earlier.endpoint != claim.endpoint:
        raise refusals.idempotency_mismatch(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{claim.endpoint}' vs '{earlier.endpoint}'). Try using a key other than '{claim.key}' if you meant to"
            " execute a different request."
        )
    if earlier.fingerprint != claim.fingerprint:
        raise refusals.idempotency_mismatch(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{claim.key}' if you meant to execute a different request."
        )
    if earlier.answer is None:
        raise refusals.idempotency_key_in_use(claim.key)
    # What took its time was the payment; its saved answer is at hand.
    prompt = Reply.PROMPT if earlier.answer.reply is Reply.SLOW else earlier.answer.reply
    return replace(earlier.answer, reply=prompt)


def _headers(request: Request, answer: Answer, sent: Headers) -> Headers:
    headers = {"Content-Type": "application/json", "Request-Id": request.id}
    if version := sent.get("Stripe-Version"):
        headers["Stripe-Version"] = version
    if request.idempotency_key is not None:
        headers |= {"Idempotency-Key": request.idempotency_key, "Original-Request": answer.request_id}
    if answer.request_id != request.id:
        headers["Idempotent-Replayed"] = "true"
    if answer.should_retry is not None:
        headers["Stripe-Should-Retry"] = str(answer.should_retry).lower()
    if answer.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
    return Headers(headers)


def _no_reply(cause: str) -> stripe.APIConnectionError:
    message = (
        "Unexpected error communicating with Stripe.  If this problem persists, let us know at support@stripe.com.\n\n"
        f"(Network error: {cause})"
    )
    return stripe.APIConnectionError(message, should_retry=True)  # type: ignore[no-untyped-call]
