"""Calls at the same time: the store decides, and no intent is ever charged twice or both paid and cancelled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import stripe
from botocore.exceptions import ClientError, EndpointConnectionError

from dummy_stripe.endpoints import LOST_RACES

THREADS = 20


def at_once(*calls: Callable[[], Any]) -> list[str]:
    """The status of each call's intent, or the code of its error, when all start together."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> str:
        start.wait()
        try:
            return str(call().status)
        except stripe.StripeError as error:
            return str(error.error.code)  # `error.code` is empty for other than 400, 402 and 404

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_many_confirmations_one_charges(memory_dummy):
    intent = memory_dummy.create()
    outcomes = at_once(*[lambda: memory_dummy.confirm(intent.id)] * THREADS)

    assert sorted(outcomes) == ["payment_intent_unexpected_state"] * (THREADS - 1) + ["succeeded"]
    assert len(memory_dummy.store.charges()) == 1


def test_of_many_requests_with_one_key_one_runs(memory_dummy):
    intent = memory_dummy.create()
    outcomes = at_once(*[lambda: memory_dummy.confirm(intent.id, key="attempt")] * THREADS)

    assert set(outcomes) <= {"succeeded", "idempotency_key_in_use"}
    assert len(memory_dummy.store.charges()) == 1


def test_many_creations_with_one_key_make_one_intent(memory_dummy):
    at_once(*[lambda: memory_dummy.create("order-1")] * THREADS)

    assert len(memory_dummy.store.intents()) == 1


@pytest.mark.parametrize("_", range(20))
def test_an_intent_is_paid_or_cancelled_never_both(memory_dummy, _):
    intent = memory_dummy.create()
    outcomes = at_once(lambda: memory_dummy.confirm(intent.id), lambda: memory_dummy.intents.cancel(intent.id))

    final = memory_dummy.intents.retrieve(intent.id).status
    assert sorted(outcomes) == sorted([final, "payment_intent_unexpected_state"])
    assert len(memory_dummy.store.charges()) == (1 if final == "succeeded" else 0)


def before_the_next_write(dummy, rival: Callable[[], object]) -> None:
    """Let a rival's call happen between a call's reading of the intent and its writing."""
    write = dummy.store.write

    def write_after_the_rival(intent, record):
        dummy.store.write = write
        rival()
        return write(intent, record)

    dummy.store.write = write_after_the_rival


def test_a_confirmation_that_a_cancellation_overtook_is_refused(dummy, refused):
    intent = dummy.create()
    before_the_next_write(dummy, lambda: dummy.another().intents.cancel(intent.id))

    error = refused(lambda: dummy.confirm(intent.id, key="attempt"))
    assert error.error.payment_intent.status == "canceled"
    assert dummy.store.charges() == []


def test_a_cancellation_that_a_confirmation_overtook_is_refused(dummy, refused):
    intent = dummy.create()
    before_the_next_write(dummy, lambda: dummy.another().confirm(intent.id))

    error = refused(lambda: dummy.intents.cancel(intent.id))
    assert error.error.payment_intent.status == "succeeded"
    assert len(dummy.store.charges()) == 1


def test_a_confirmation_that_another_overtook_does_not_charge_again(dummy, refused):
    intent = dummy.create()
    before_the_next_write(dummy, lambda: dummy.another().confirm(intent.id))

    assert refused(lambda: dummy.confirm(intent.id)).code == "payment_intent_unexpected_state"
    assert len(dummy.store.charges()) == 1


def test_a_confirmation_after_a_decline_that_overtook_it_charges(dummy):
    def declined() -> None:
        with pytest.raises(stripe.CardError):
            dummy.another().confirm(intent.id, "pm_card_visa_chargeDeclined")

    intent = dummy.create()
    before_the_next_write(dummy, declined)

    assert dummy.confirm(intent.id).status == "succeeded"
    assert sorted(charge.status for charge in dummy.store.charges()) == ["failed", "succeeded"]


def test_a_call_that_loses_every_race_gives_up_and_may_be_sent_again(dummy, refused):
    intent = dummy.create()
    write, lost = dummy.store.write, []
    dummy.store.write = lambda *_: bool(lost.append(1))

    error = refused(lambda: dummy.confirm(intent.id, key="attempt"))
    assert (error.http_status, error.error.code) == (429, "lock_timeout")
    assert error.headers["stripe-should-retry"] == "true"
    assert len(lost) == LOST_RACES
    dummy.store.write = write
    assert dummy.confirm(intent.id, key="attempt").status == "succeeded"


def cancelled_transaction(*reasons: str) -> ClientError:
    answer: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(answer, "TransactWriteItems")


def failing_once(client, operation: str, error: Exception) -> None:
    """Let the table's next request of this kind fail as DynamoDB would, before it has an effect."""
    real = getattr(client, operation)

    def fail(**_: Any) -> None:
        setattr(client, operation, real)
        raise error

    setattr(client, operation, fail)


def test_a_transaction_conflict_is_a_lost_race(dynamodb_dummy, dynamodb_client):
    intent = dynamodb_dummy.create()
    failing_once(dynamodb_client, "transact_write_items", cancelled_transaction("TransactionConflict", "None"))

    assert dynamodb_dummy.confirm(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("transact_write_items", cancelled_transaction("ThrottlingError", "None")),
        ("transact_write_items", EndpointConnectionError(endpoint_url="table")),
        ("get_item", ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "GetItem")),
        ("put_item", ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutItem")),
    ],
)
def test_a_table_in_trouble_is_a_connection_error(dynamodb_dummy, dynamodb_client, operation, error):
    intent = dynamodb_dummy.create()
    failing_once(dynamodb_client, operation, error)
    with pytest.raises(stripe.APIConnectionError):
        dynamodb_dummy.confirm(intent.id)

    assert dynamodb_dummy.store.charges() == []


def test_a_key_whose_answer_is_just_being_saved_is_in_use(dynamodb_dummy, dynamodb_client, refused):
    conflict = ClientError({"Error": {"Code": "TransactionConflictException"}}, "PutItem")
    failing_once(dynamodb_client, "put_item", conflict)

    assert refused(lambda: dynamodb_dummy.create("order-1")).error.code == "idempotency_key_in_use"


@pytest.mark.parametrize("call", ["confirm", "refund"])
def test_a_payment_or_refund_costs_three_requests_to_the_table(dynamodb_dummy, dynamodb_client, call):
    intent = dynamodb_dummy.create() if call == "confirm" else dynamodb_dummy.paid()
    operations: list[str] = []
    events = dynamodb_client.meta.events
    events.register("before-call.dynamodb", lambda model, **_: operations.append(model.name), "count")
    getattr(dynamodb_dummy, call)(intent.id)
    events.unregister("before-call.dynamodb", unique_id="count")

    assert operations == ["PutItem", "GetItem", "TransactWriteItems"]


def test_a_list_goes_through_every_page_of_the_table(dynamodb_dummy):
    # More than the one megabyte that a scan answers at once.
    for number in range(9):
        dynamodb_dummy.create(description="x" * 150_000, metadata={"number": str(number)})

    assert len(dynamodb_dummy.intents.list({"limit": 100}).data) == 9
