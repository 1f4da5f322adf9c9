"""The outcome of each response from Stripe, valid or not, through the real SDK."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY

import pytest
import stripe

from dummy_stripe import MemoryStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from order_payments.domain.errors import AmountNotChargeable, Busy, PaymentInProgress, PaymentProviderError
from order_payments.domain.orders import Order, OrderLine, PaymentAttempt, Reason
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus, staff_refund_id
from order_payments.runtime.clock import Deadline
from order_payments.runtime.settings import InvalidSettings, StripeSettings
from order_payments.stripe_adapter import retries
from order_payments.stripe_adapter.gateway import StripeGateway, stripe_gateway
from order_payments.stripe_adapter.outcomes import (
    Cancelled,
    ChargeRefunded,
    Closed,
    Declined,
    NoIntent,
    NoRefund,
    NotStarted,
    Open,
    Paid,
    RateLimited,
    RefundRefused,
    RefusalCause,
    Refused,
    StripeRefund,
    Unknown,
)
from order_payments.stripe_adapter.retries import MAXIMUM_RATE_LIMITED_TRIES, MINIMUM_CALL_SECONDS
from tests.support.world import no_pause

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLENTY = Deadline.after(3600)
LOST_CARD = Reason("card_declined", "Your card was declined.", "lost_card")
NOT_OFFERED = Reason("authentication_required", "The card requires authentication, which is not supported.", None)
RawResponse = tuple[str, int, dict[str, str]]

CONFLICT = '{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use"}}'

GARBAGE: dict[str, RawResponse] = {
    "empty": ("", 200, {}),
    "not json": ("<html>bad gateway</html>", 200, {}),
    "an array": ("[]", 200, {}),
    "null": ("null", 200, {}),
    "an empty object": ("{}", 200, {}),
    "an error that is a string": ('{"error":"no"}', 400, {}),
    "an error that is an array": ('{"error":[]}', 400, {}),
    "a decline that is an array": ('{"error":[]}', 402, {}),
    "a server's error in html": ("<html>oops</html>", 500, {}),
    "a redirect": ("", 302, {"location": "https://elsewhere.example"}),
    "a conflict": (CONFLICT, 409, {}),
    "an idempotency error": ('{"error":{"type":"idempotency_error","message":"no"}}', 400, {}),
    "a 429 without a code": ('{"error":{"type":"invalid_request_error"}}', 429, {}),
    "a 429 in html": ("<html>slow down</html>", 429, {}),
    "a locked object": ('{"error":{"type":"invalid_request_error","code":"lock_timeout"}}', 429, {}),
}

RATE_LIMIT = '{"error":{"type":"invalid_request_error","code":"rate_limit"}}'
RATE_LIMITS: dict[str, RawResponse] = {
    "429": (RATE_LIMIT, 429, {"Retry-After": "3"}),
    "old style": (RATE_LIMIT, 400, {"retry-after": "3"}),
}
API_ERROR: RawResponse = ('{"error":{"type":"api_error","message":"no"}}', 500, {})


class Wire(DummyStripeHTTPClient):
    """The dummy with changed responses: `tamper` maps the last part of a path to a change."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.tamper: dict[str, Callable[[RawResponse], RawResponse]] = {}
        self.sent_keys: defaultdict[str, list[str | None]] = defaultdict(list)

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **options: Any) -> Any:
        response: Any = super().request(method, url, headers, post_data, **options)
        last = url.rpartition("/")[2]
        self.sent_keys[last].append(headers.get("Idempotency-Key"))
        tamper = self.tamper.get(last)
        return tamper(response) if tamper else response


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_unit", http_client=wire)


@pytest.fixture
def gateway(client: stripe.StripeClient, wire: Wire) -> StripeGateway:
    return StripeGateway(client, wire, sleep=no_pause)


def claim(gateway: StripeGateway, card: str = "pm_card_visa") -> Order:
    order = Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)
    intent_id = gateway.create_intent(order, deadline=PLENTY)
    return replace(order, attempt=PaymentAttempt(PaymentAttempt.new_id(), intent_id, card, NOW))


def intent_of(order: Order) -> str:
    return order.require_in_flight().payment_intent_id


def with_fields(**changed: Any) -> Callable[[RawResponse], RawResponse]:
    """Return a function that changes fields of a response body."""
    return lambda response: (json.dumps({**json.loads(response[0]), **changed}), response[1], response[2])


def test_repeated_creation_returns_the_same_intent(gateway: StripeGateway) -> None:
    order = claim(gateway)

    assert gateway.create_intent(order, deadline=PLENTY) == intent_of(order)


def test_intent_has_the_orders_amount_currency_and_ids(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)
    (intent,) = wire.store.intents()

    assert (intent.amount, intent.currency) == (9198, "usd")
    assert intent.metadata == {"orderId": order.order_id, "buyerId": "alice"}


def test_repeated_confirmation_charges_once(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)

    assert [gateway.confirm(order, deadline=PLENTY) for _ in range(2)] == [Paid(), Paid()]
    assert len(wire.store.charges()) == 1


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_visa_chargeDeclinedLostCard", LOST_CARD),
        ("pm_card_authenticationRequired", NOT_OFFERED),
    ],
)
def test_card_error_or_required_action_is_a_decline(gateway: StripeGateway, card: str, reason: Reason) -> None:
    assert gateway.confirm(claim(gateway, card), deadline=PLENTY) == Declined(reason)


@pytest.mark.parametrize("status", [401, 403])
def test_rejected_api_key_is_a_refusal(gateway: StripeGateway, wire: Wire, status: int) -> None:
    order = claim(gateway)
    wire.tamper["confirm"] = lambda _: ('{"error":{"type":"invalid_request_error","message":"no"}}', status, {})

    assert gateway.confirm(order, deadline=PLENTY) == Refused(RefusalCause.ACCESS)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusal_after_a_try_of_unknown_outcome_is_unknown(gateway: StripeGateway, wire: Wire, status: int) -> None:
    order = claim(gateway)
    responses = iter([(CONFLICT, 409, {}), ('{"error":{"type":"invalid_request_error","message":"no"}}', status, {})])
    wire.tamper["confirm"] = lambda _: next(responses)

    assert gateway.confirm(order, deadline=PLENTY) == Unknown()


def test_replayed_server_error_on_create_does_not_block_the_payment(gateway: StripeGateway, wire: Wire) -> None:
    fault = ('{"error":{"type":"api_error","message":"no"}}', 500, {"idempotent-replayed": "true"})
    responses = iter([fault, fault])
    wire.tamper["payment_intents"] = lambda response: next(responses, response)

    assert gateway.confirm(claim(gateway), deadline=PLENTY) == Paid()


def test_long_text_from_stripe_is_truncated(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)
    error = {"type": "card_error", "code": "c" * 10**6, "decline_code": "d" * 10**6, "message": "m" * 10**6}
    wire.tamper["confirm"] = lambda _: (json.dumps({"error": error}), 402, {})

    outcome = gateway.confirm(order, deadline=PLENTY)

    assert isinstance(outcome, Declined)
    assert len(outcome.reason.code + outcome.reason.message + (outcome.reason.decline_code or "")) < 2000


def test_canceled_intent_stays_canceled_and_is_closed(gateway: StripeGateway) -> None:
    order = claim(gateway)

    for _ in range(2):
        assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Cancelled()
    assert gateway.confirm(order, deadline=PLENTY) == Closed()


@pytest.mark.parametrize(
    ("card", "outcome"),
    [
        ("pm_unknown", Refused(RefusalCause.PAYMENT_METHOD)),
        ("pm_dummy_timeout_after_charge", Unknown()),
        ("pm_dummy_timeout_before_charge", Unknown()),
        ("pm_dummy_api_error", Unknown()),
        ("pm_dummy_processing", Unknown()),
    ],
)
def test_each_kind_of_response_has_its_outcome(gateway: StripeGateway, card: str, outcome: Any) -> None:
    assert gateway.confirm(claim(gateway, card), deadline=PLENTY) == outcome


@pytest.mark.parametrize("case", RATE_LIMITS)
def test_rate_limit_on_every_try_is_definite(gateway: StripeGateway, wire: Wire, case: str) -> None:
    order = claim(gateway)
    wire.tamper["confirm"] = lambda _: RATE_LIMITS[case]

    assert gateway.confirm(order, deadline=PLENTY) == RateLimited(retry_after_seconds=3)
    assert wire.sent_keys["confirm"] == [order.require_in_flight().attempt_id] * MAXIMUM_RATE_LIMITED_TRIES


def test_retry_after_rate_limits_is_paid(gateway: StripeGateway, wire: Wire) -> None:
    responses = iter([RATE_LIMITS["429"]] * (MAXIMUM_RATE_LIMITED_TRIES - 1))
    wire.tamper["confirm"] = lambda response: next(responses, response)

    assert gateway.confirm(claim(gateway), deadline=PLENTY) == Paid()


@pytest.mark.parametrize("index", range(MAXIMUM_RATE_LIMITED_TRIES))
def test_rate_limits_with_one_server_error_are_unknown(gateway: StripeGateway, wire: Wire, index: int) -> None:
    order = claim(gateway)
    responses = iter([*[RATE_LIMITS["429"]] * index, API_ERROR, *[RATE_LIMITS["429"]] * MAXIMUM_RATE_LIMITED_TRIES])
    wire.tamper["confirm"] = lambda _: next(responses)

    assert gateway.confirm(order, deadline=PLENTY) == Unknown()


def test_refusal_after_rate_limits_is_definite(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway, "pm_unknown")
    responses = iter([RATE_LIMITS["429"]])
    wire.tamper["confirm"] = lambda response: next(responses, response)

    assert gateway.confirm(order, deadline=PLENTY) == Refused(RefusalCause.PAYMENT_METHOD)


def test_pauses_between_retries_are_no_shorter_than_retry_after(wire: Wire) -> None:
    pauses: list[float] = []
    gateway = StripeGateway(stripe.StripeClient("sk_test_unit", http_client=wire), wire, sleep=pauses.append)
    order = claim(gateway)
    wire.tamper["confirm"] = lambda _: RATE_LIMITS["429"]

    gateway.confirm(order, deadline=PLENTY)

    assert len(pauses) == MAXIMUM_RATE_LIMITED_TRIES - 1
    assert all(pause > 3 for pause in pauses)
    assert len(set(pauses)) == len(pauses)


def test_retry_after_beyond_the_deadline_is_not_waited_for(wire: Wire) -> None:
    pauses: list[float] = []
    gateway = StripeGateway(stripe.StripeClient("sk_test_unit", http_client=wire), wire, sleep=pauses.append)
    order = claim(gateway)
    wire.tamper["confirm"] = lambda _: (RATE_LIMIT, 429, {"retry-after": "30"})

    assert gateway.confirm(order, deadline=PLENTY) == RateLimited(retry_after_seconds=30)
    assert pauses == []


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        *((response, 3) for response in RATE_LIMITS.values()),
        (GARBAGE["a 429 without a code"], 1),
        (GARBAGE["a locked object"], 1),
    ],
)
def test_rate_limit_on_create_is_busy(gateway: StripeGateway, wire: Wire, response: RawResponse, seconds: int) -> None:
    wire.tamper["payment_intents"] = lambda _: response

    with pytest.raises(Busy) as busy:
        claim(gateway)
    assert busy.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "error",
    [
        {"code": "amount_too_small", "param": "amount"},
        {"code": "amount_too_large", "param": "amount"},
        {"code": "parameter_invalid_integer", "param": "amount"},
        {"param": "currency"},
    ],
    ids=str,
)
def test_amount_that_stripe_refuses_is_not_chargeable(gateway: StripeGateway, wire: Wire, error: Any) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": "no", **error}})
    wire.tamper["payment_intents"] = lambda _: (body, 400, {})

    with pytest.raises(AmountNotChargeable):
        claim(gateway)


def test_key_used_with_other_parameters_is_replaced(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)
    params: Any = {"amount": order.total_amount, "currency": "usd", "description": "an earlier release"}
    client.v1.payment_intents.create(params, {"idempotency_key": f"create-{order.order_id}"})

    intent_id = gateway.create_intent(order, deadline=PLENTY)

    assert gateway.retrieve_state(order, intent_id, deadline=PLENTY) == Open()


def test_intent_accepts_cards_only(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = claim(gateway)

    intent = client.v1.payment_intents.retrieve(intent_of(order))
    assert (intent.allowed_payment_method_types, intent.automatic_payment_methods) == (["card"], None)


@pytest.mark.parametrize("case", [case for case in GARBAGE if case != "a decline that is an array"])
def test_garbled_confirmation_is_unknown(gateway: StripeGateway, wire: Wire, case: str) -> None:
    order = claim(gateway)
    wire.tamper["confirm"] = lambda _: GARBAGE[case]

    assert gateway.confirm(order, deadline=PLENTY) == Unknown()


@pytest.mark.parametrize("case", GARBAGE)
def test_garbled_cancellation_is_unknown(gateway: StripeGateway, wire: Wire, case: str) -> None:
    order = claim(gateway)
    wire.tamper["cancel"] = lambda _: GARBAGE[case]

    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Unknown()


def test_intent_that_another_payment_is_creating_is_in_progress(gateway: StripeGateway, wire: Wire) -> None:
    wire.tamper["payment_intents"] = lambda _: (CONFLICT, 409, {})

    with pytest.raises(PaymentInProgress):
        claim(gateway)


@pytest.mark.parametrize(
    "case", [case for case in GARBAGE if case not in {"a conflict", "a 429 without a code", "a locked object"}]
)
def test_failed_creation_of_an_intent_is_a_provider_error(gateway: StripeGateway, wire: Wire, case: str) -> None:
    wire.tamper["payment_intents"] = lambda _: GARBAGE[case]

    with pytest.raises(PaymentProviderError):
        claim(gateway)


@pytest.mark.parametrize(
    "changed",
    [{"amount": 1}, {"currency": "eur"}, {"metadata": {"orderId": "ord_other"}}, {"metadata": {}}, {"status": "odd"}],
    ids=str,
)
def test_response_that_does_not_match_the_order_is_unknown(
    gateway: StripeGateway, wire: Wire, changed: dict[str, Any]
) -> None:
    confirmed, cancelled = claim(gateway), claim(gateway)
    wire.tamper = {"confirm": with_fields(**changed), "cancel": with_fields(**changed)}

    assert gateway.confirm(confirmed, deadline=PLENTY) == Unknown()
    assert gateway.cancel(cancelled, intent_of(cancelled), deadline=PLENTY) == Unknown()


def test_created_intent_that_does_not_match_the_order_is_not_used(gateway: StripeGateway, wire: Wire) -> None:
    wire.tamper["payment_intents"] = with_fields(amount=1)

    with pytest.raises(PaymentProviderError):
        claim(gateway)


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_dummy_timeout_after_charge"])
def test_cancellation_of_a_paid_intent_returns_paid(gateway: StripeGateway, card: str) -> None:
    order = claim(gateway, card)
    gateway.confirm(order, deadline=PLENTY)

    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Paid()


def test_cancellation_of_a_declined_intent_returns_the_reason(gateway: StripeGateway) -> None:
    order = claim(gateway, "pm_card_visa_chargeDeclinedLostCard")
    gateway.confirm(order, deadline=PLENTY)

    for _ in range(2):
        assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Cancelled(LOST_CARD)


@pytest.mark.parametrize(("amount", "state"), [(9198, ChargeRefunded()), (9197, Paid())])
def test_intent_whose_whole_charge_was_refunded_is_not_paid(
    gateway: StripeGateway, client: stripe.StripeClient, amount: int, state: Any
) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    client.v1.refunds.create({"payment_intent": intent_of(order), "amount": amount})

    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == state
    assert gateway.retrieve_state(order, intent_of(order), deadline=PLENTY) == state


def test_refunds_are_listed_with_those_made_elsewhere(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    elsewhere = client.v1.refunds.create({"payment_intent": intent_of(order), "amount": 100})
    own = gateway.create_refund(order, staff_refund(order), deadline=PLENTY)

    refunds = gateway.list_refunds(intent_of(order), deadline=PLENTY)

    assert refunds == [
        own,
        StripeRefund(elsewhere.id, intent_of(order), RefundStatus.SUCCEEDED, 100, created_at=ANY),
    ]
    assert gateway.retrieve_refund(elsewhere.id, deadline=PLENTY) in refunds
    assert gateway.retrieve_refund("re_unknown", deadline=PLENTY) == NoRefund()


def test_refund_refused_by_stripe_has_its_code(gateway: StripeGateway, client: stripe.StripeClient) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    client.v1.refunds.create({"payment_intent": intent_of(order)})

    outcome = gateway.create_refund(order, staff_refund(order), deadline=PLENTY)

    assert isinstance(outcome, RefundRefused)
    assert outcome.failure.code == "charge_already_refunded"


def test_cancellation_of_a_processing_intent_is_unknown(gateway: StripeGateway) -> None:
    order = claim(gateway, "pm_dummy_processing")
    gateway.confirm(order, deadline=PLENTY)

    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Unknown()


def test_intent_of_another_order_is_not_found(gateway: StripeGateway) -> None:
    order, other = claim(gateway), claim(gateway)

    assert gateway.retrieve_state(order, intent_of(order), deadline=PLENTY) == Open()
    assert gateway.retrieve_state(order, intent_of(other), deadline=PLENTY) == NoIntent()
    assert gateway.retrieve_state(order, "pi_unknown", deadline=PLENTY) == NoIntent()


def test_refund_of_a_late_payment_is_sent_under_a_key_from_its_intent(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    refund = replace(staff_refund(order), kind=RefundKind.LATE_PAYMENT)

    refunds = [gateway.create_refund(order, refund, deadline=PLENTY) for _ in range(2)]

    (charge,) = wire.store.charges()
    expected = StripeRefund(
        charge.refunds[0].id,
        intent_of(order),
        RefundStatus.SUCCEEDED,
        order.total_amount,
        created_at=ANY,
        order_id=order.order_id,
    )
    assert refunds == [expected] * 2
    assert wire.sent_keys["refunds"] == [f"refund-{intent_of(order)}"] * 2


@pytest.mark.parametrize(
    ("status", "recorded"),
    [
        ("pending", RefundStatus.PENDING),
        ("requires_action", RefundStatus.PENDING),
        ("failed", RefundStatus.FAILED),
        ("canceled", RefundStatus.FAILED),
    ],
)
def test_refund_has_the_status_that_stripe_reports(
    gateway: StripeGateway, wire: Wire, status: str, recorded: RefundStatus
) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    wire.tamper["refunds"] = with_fields(status=status)

    outcome = gateway.create_refund(order, staff_refund(order), deadline=PLENTY)

    assert isinstance(outcome, StripeRefund)
    assert outcome.status is recorded


def test_refund_with_an_unknown_status_is_unknown(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)
    gateway.confirm(order, deadline=PLENTY)
    wire.tamper["refunds"] = with_fields(status="new")

    assert gateway.create_refund(order, staff_refund(order), deadline=PLENTY) == Unknown()


def staff_refund(order: Order) -> Refund:
    """Return an owed refund of a part of the order."""
    refund_id = staff_refund_id(order.order_id, "ada", None)
    now = order.created_at
    return Refund(refund_id, RefundKind.STAFF, RefundStatus.OWED, intent_of(order), 50, created_at=now, updated_at=now)


def test_no_call_starts_with_too_little_time_left(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)
    late = Deadline.after(MINIMUM_CALL_SECONDS - 0.1)

    assert gateway.confirm(order, deadline=late) == NotStarted()
    assert gateway.cancel(order, intent_of(order), deadline=late) == Unknown()
    with pytest.raises(PaymentProviderError):
        gateway.create_intent(order, deadline=late)
    assert wire.store.charges() == []


def test_all_tries_of_a_call_fit_in_the_remaining_time(gateway: StripeGateway, wire: Wire) -> None:
    order = claim(gateway)

    gateway.confirm(order, deadline=Deadline.after(5))

    assert 0 < 2 * wire.timeout + retries.FIRST_PAUSE_SECONDS <= 5


def test_timed_out_confirmation_is_unknown_and_later_found_paid(gateway: StripeGateway) -> None:
    order = claim(gateway, "pm_dummy_timeout_after_charge")

    assert gateway.confirm(order, deadline=Deadline.after(3)) == Unknown()
    assert gateway.cancel(order, intent_of(order), deadline=PLENTY) == Paid()


def test_dummy_backend_without_its_layer_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dummy_stripe", None)

    with pytest.raises(InvalidSettings, match="has no DummyStripeLayer"):
        stripe_gateway(StripeSettings.from_environment({"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_BACKEND": "dummy"}))
