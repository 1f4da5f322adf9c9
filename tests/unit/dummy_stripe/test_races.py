"""Concurrent calls: no intent is charged twice, or both paid and canceled."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
import stripe
from botocore.exceptions import ClientError, EndpointConnectionError

from dummy_stripe.endpoints import MAXIMUM_WRITE_TRIES

THREADS = 20


def run_concurrently(*calls: Callable[[], Any]) -> list[str]:
    """Start all calls together and return the status of each intent, or the code of its error."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> str:
        start.wait()
        try:
            return str(call().status)
        except stripe.StripeError as error:
            return str(error.error.code)  # `error.code` is set only for 400, 402 and 404

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_concurrent_confirmations_charge_once(memory_dummy):
    intent = memory_dummy.create()
    outcomes = run_concurrently(*[lambda: memory_dummy.confirm(intent.id)] * THREADS)

    assert sorted(outcomes) == ["payment_intent_unexpected_state"] * (THREADS - 1) + ["succeeded"]
    assert len(memory_dummy.store.charges()) == 1


def test_concurrent_requests_with_one_key_run_once(memory_dummy):
    intent = memory_dummy.create()
    outcomes = run_concurrently(*[lambda: memory_dummy.confirm(intent.id, key="attempt")] * THREADS)

    assert set(outcomes) <= {"succeeded", "idempotency_key_in_use"}
    assert len(memory_dummy.store.charges()) == 1


def test_concurrent_creations_with_one_key_create_one_intent(memory_dummy):
    run_concurrently(*[lambda: memory_dummy.create("order-1")] * THREADS)

    assert len(memory_dummy.store.intents()) == 1


@pytest.mark.parametrize("_", range(20))
def test_intent_is_never_both_paid_and_canceled(memory_dummy, _):
    intent = memory_dummy.create()
    outcomes = run_concurrently(lambda: memory_dummy.confirm(intent.id), lambda: memory_dummy.intents.cancel(intent.id))

    final = memory_dummy.intents.retrieve(intent.id).status
    assert sorted(outcomes) == sorted([final, "payment_intent_unexpected_state"])
    assert len(memory_dummy.store.charges()) == (1 if final == "succeeded" else 0)


def run_before_next_write(dummy, rival: Callable[[], object]) -> None:
    """Run a rival's call after the next call has read the intent and before it writes."""
    write = dummy.store.write

    def write_after_the_rival(intent, record):
        dummy.store.write = write
        rival()
        return write(intent, record)

    dummy.store.write = write_after_the_rival


def test_confirmation_that_loses_to_a_cancellation_is_refused(dummy, error_of):
    intent = dummy.create()
    run_before_next_write(dummy, lambda: dummy.in_another_process().intents.cancel(intent.id))

    error = error_of(lambda: dummy.confirm(intent.id, key="attempt"))
    assert error.error.payment_intent.status == "canceled"
    assert dummy.store.charges() == []


def test_cancellation_that_loses_to_a_confirmation_is_refused(dummy, error_of):
    intent = dummy.create()
    run_before_next_write(dummy, lambda: dummy.in_another_process().confirm(intent.id))

    error = error_of(lambda: dummy.intents.cancel(intent.id))
    assert error.error.payment_intent.status == "succeeded"
    assert len(dummy.store.charges()) == 1


def test_confirmation_that_loses_to_another_does_not_charge_again(dummy, error_of):
    intent = dummy.create()
    run_before_next_write(dummy, lambda: dummy.in_another_process().confirm(intent.id))

    assert error_of(lambda: dummy.confirm(intent.id)).code == "payment_intent_unexpected_state"
    assert len(dummy.store.charges()) == 1


def test_confirmation_that_loses_to_a_decline_charges(dummy):
    def decline() -> None:
        with pytest.raises(stripe.CardError):
            dummy.in_another_process().confirm(intent.id, "pm_card_visa_chargeDeclined")

    intent = dummy.create()
    run_before_next_write(dummy, decline)

    assert dummy.confirm(intent.id).status == "succeeded"
    assert sorted(charge.status for charge in dummy.store.charges()) == ["failed", "succeeded"]


def test_call_that_loses_every_race_fails_with_a_retryable_error(dummy, error_of):
    intent = dummy.create()
    write, lost = dummy.store.write, []
    dummy.store.write = lambda *_: bool(lost.append(1))

    error = error_of(lambda: dummy.confirm(intent.id, key="attempt"))
    assert (error.http_status, error.error.code) == (429, "lock_timeout")
    assert error.headers["stripe-should-retry"] == "true"
    assert len(lost) == MAXIMUM_WRITE_TRIES
    dummy.store.write = write
    assert dummy.confirm(intent.id, key="attempt").status == "succeeded"


def transaction_canceled(*reasons: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(response, "TransactWriteItems")


def fail_once(client, operation: str, error: Exception) -> None:
    """Make the next request of this operation fail with `error`, without an effect."""
    real = getattr(client, operation)

    def fail(**_: Any) -> None:
        setattr(client, operation, real)
        raise error

    setattr(client, operation, fail)


def test_transaction_conflict_counts_as_a_lost_race(dynamodb_dummy, dynamodb_client):
    intent = dynamodb_dummy.create()
    fail_once(dynamodb_client, "transact_write_items", transaction_canceled("TransactionConflict", "None"))

    assert dynamodb_dummy.confirm(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("transact_write_items", transaction_canceled("ThrottlingError", "None")),
        ("transact_write_items", EndpointConnectionError(endpoint_url="table")),
        ("get_item", ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "GetItem")),
        ("put_item", ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutItem")),
    ],
)
def test_dynamodb_error_is_a_connection_error(dynamodb_dummy, dynamodb_client, operation, error):
    intent = dynamodb_dummy.create()
    fail_once(dynamodb_client, operation, error)
    with pytest.raises(stripe.APIConnectionError):
        dynamodb_dummy.confirm(intent.id)

    assert dynamodb_dummy.store.charges() == []


def test_key_with_a_conflicting_transaction_is_in_use(dynamodb_dummy, dynamodb_client, error_of):
    conflict = ClientError({"Error": {"Code": "TransactionConflictException"}}, "PutItem")
    fail_once(dynamodb_client, "put_item", conflict)

    assert error_of(lambda: dynamodb_dummy.create("order-1")).error.code == "idempotency_key_in_use"


@contextmanager
def record_operations(client) -> Iterator[list[str]]:
    """Record the operations that the client sends to DynamoDB."""
    operations: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: operations.append(model.name), "record")
    yield operations
    client.meta.events.unregister("before-call.dynamodb", unique_id="record")


@pytest.mark.parametrize("call", ["confirm", "refund"])
def test_payment_or_refund_makes_three_requests_to_the_table(dynamodb_dummy, dynamodb_client, call):
    intent = dynamodb_dummy.create() if call == "confirm" else dynamodb_dummy.pay()
    with record_operations(dynamodb_client) as operations:
        getattr(dynamodb_dummy, call)(intent.id)

    assert operations == ["PutItem", "GetItem", "TransactWriteItems"]


def test_refunds_are_read_without_a_scan(dynamodb_dummy, dynamodb_client):
    intent = dynamodb_dummy.pay().id
    refund = dynamodb_dummy.refund(intent)
    with record_operations(dynamodb_client) as operations:
        assert dynamodb_dummy.refunds.retrieve(refund.id) == refund
        assert dynamodb_dummy.refunds.list({"payment_intent": intent}).data == [refund]

    assert operations == ["GetItem", "GetItem"]


def test_list_reads_every_page_of_the_table(dynamodb_dummy):
    # More than the 1 MB that one scan returns.
    for number in range(9):
        dynamodb_dummy.create(description="x" * 150_000, metadata={"number": str(number)})

    assert len(dynamodb_dummy.intents.list({"limit": 100}).data) == 9
