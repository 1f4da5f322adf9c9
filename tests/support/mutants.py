"""Mutants of the service, each without one rule of the payment protocol.

A mutant lasts as long as its `patch`.
"""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch as mock_patch

import pytest

from dummy_stripe.http_client import DummyStripeHTTPClient
from order_payments import payments
from order_payments.domain.orders import Order, PaymentAttempt, Reason
from order_payments.domain.refunds import Refund
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.storage import orders_table
from order_payments.storage.dynamodb import write_transaction
from order_payments.storage.order_writes import UNCLAIMED, Condition
from order_payments.storage.orders_table import OrdersTable
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import (
    Cancelled,
    CancelOutcome,
    ConfirmOutcome,
    Declined,
    Paid,
    RateLimited,
    RefundOutcome,
    RefundRefused,
    Unknown,
)
from tests.support.world import World

TIMED_OUT = Reason("timed_out", "The payment timed out.")


def always(condition: Condition) -> Condition:
    """Return a condition that always holds, together with the conditions that follow it.

    The mutants patch private names of the table: it has no public way to drop a condition.
    """
    return condition._replace(text=f"attribute_exists(orderId) OR {condition.text}")


def no_fence(patch: pytest.MonkeyPatch, _: World) -> None:
    """The reconciler reads the intent's state instead of cancelling the intent."""

    def read_state(gateway: StripeGateway, order: Order, intent_id: str, **by: Any) -> CancelOutcome:
        return Paid() if gateway.retrieve_state(order, intent_id, **by) == Paid() else Cancelled()

    reconcile = payments.reconcile

    def reconcile_without_fence(order: Order, **collaborators: Any) -> Order:
        with mock_patch.object(StripeGateway, "cancel", read_state):
            return reconcile(order, **collaborators)

    patch.setattr(payments, "reconcile", reconcile_without_fence)


def claim_unconditional(patch: pytest.MonkeyPatch, _: World) -> None:
    """An order is claimed in any state."""
    _within(patch, "claim", lambda: mock_patch.object(orders_table, "UNCLAIMED", always(UNCLAIMED)))


def settle_unconditional(patch: pytest.MonkeyPatch, _: World) -> None:
    """An order is settled even if its attempt is no longer in flight."""
    is_in_flight = orders_table._is_in_flight
    _within(
        patch,
        "_settle",
        lambda: mock_patch.object(orders_table, "_is_in_flight", lambda attempt: always(is_in_flight(attempt))),
    )


def override_unconditional(patch: pytest.MonkeyPatch, _: World) -> None:
    """An override settles an order even while a payment is in flight."""
    _within(patch, "settle_by_hand", lambda: mock_patch.object(orders_table, "UNCLAIMED", always(UNCLAIMED)))


def expiry_unconditional(patch: pytest.MonkeyPatch, _: World) -> None:
    """An expired order is cancelled even if it was claimed before."""
    _within(patch, "cancel_unclaimed", lambda: mock_patch.object(orders_table, "UNCLAIMED", always(UNCLAIMED)))


def timeout_is_decline(patch: pytest.MonkeyPatch, _: World) -> None:
    """A confirmation without a response is settled as a decline, without the fence."""
    confirm, fence = StripeGateway.confirm, payments.fence

    def confirm_or_decline(gateway: StripeGateway, order: Order, **by: Any) -> ConfirmOutcome:
        outcome = confirm(gateway, order, **by)
        return Declined(TIMED_OUT) if outcome == Unknown() else outcome

    def fence_or_settle(order: Order, reason: Reason, **with_: Any) -> Order:
        if reason == TIMED_OUT:
            return with_["orders"].settle_cancelled(  # type: ignore[no-any-return]
                order, reason, now=utc_now(), deadline=with_["deadline"]
            )
        return fence(order, reason, **with_)

    patch.setattr(StripeGateway, "confirm", confirm_or_decline)
    patch.setattr(payments, "fence", fence_or_settle)


def confirm_before_claim(patch: pytest.MonkeyPatch, world: World) -> None:
    """The buyer is charged before the order is claimed."""
    claim = OrdersTable.claim

    def charge_and_claim(table: OrdersTable, order: Order, attempt: PaymentAttempt, **by: Any) -> Order:
        world.stripe.confirm(replace(order, attempt=attempt), deadline=Deadline.after(10))
        return claim(table, order, attempt, **by)

    patch.setattr(OrdersTable, "claim", charge_and_claim)


def lost_try_counts_as_rate_limited(patch: pytest.MonkeyPatch, _: World) -> None:
    """A confirmation with an unknown outcome is voided, as if every try had been rate limited."""
    confirm = StripeGateway.confirm

    def confirm_or_void(gateway: StripeGateway, order: Order, **by: Any) -> ConfirmOutcome:
        outcome = confirm(gateway, order, **by)
        return RateLimited(1) if outcome == Unknown() else outcome

    patch.setattr(StripeGateway, "confirm", confirm_or_void)


def refund_unconditional(patch: pytest.MonkeyPatch, _: World) -> None:
    """A refund is written even if the order's refunds have changed since its amount was checked."""
    patch.setattr(orders_table, "refunds_are_unchanged", lambda _: [])


def restock_apart(patch: pytest.MonkeyPatch, _: World) -> None:
    """Returned units go back on the shelf in a transaction of their own."""
    write_refund = OrdersTable._write_refund

    def restock_and_write(
        table: OrdersTable, order: Order, refund: Refund, restock: Mapping[str, int], deadline: Deadline
    ) -> Order:
        if restock:
            restocks = [table._products.restock(product_id, units) for product_id, units in restock.items()]
            write_transaction(table._client, restocks, deadline=deadline)
        return write_refund(table, order, refund, {}, deadline)

    patch.setattr(OrdersTable, "_write_refund", restock_and_write)


def random_refund_key(patch: pytest.MonkeyPatch, _: World) -> None:
    """The idempotency key of a refund is random."""
    send = DummyStripeHTTPClient.request

    def send_with_random_key(
        wire: DummyStripeHTTPClient, method: str, url: str, headers: Mapping[str, str], *body: Any, **options: Any
    ) -> Any:
        if method == "post" and url.endswith("/refunds"):
            headers = {**headers, "Idempotency-Key": uuid.uuid4().hex}
        return send(wire, method, url, headers, *body, **options)

    patch.setattr(DummyStripeHTTPClient, "request", send_with_random_key)


def refused_refund_is_retried(patch: pytest.MonkeyPatch, _: World) -> None:
    """A refund that Stripe refuses stays owed."""
    create_refund = StripeGateway.create_refund

    def create_or_retry(gateway: StripeGateway, order: Order, refund: Refund, **by: Any) -> RefundOutcome:
        outcome = create_refund(gateway, order, refund, **by)
        return Unknown() if isinstance(outcome, RefundRefused) else outcome

    patch.setattr(StripeGateway, "create_refund", create_or_retry)


Mutation = Callable[[pytest.MonkeyPatch, World], None]

MUTANTS: Mapping[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        no_fence,
        claim_unconditional,
        timeout_is_decline,
        settle_unconditional,
        confirm_before_claim,
        override_unconditional,
        expiry_unconditional,
        lost_try_counts_as_rate_limited,
        refund_unconditional,
        restock_apart,
        random_refund_key,
        refused_refund_is_retried,
    )
}


def _within(patch: pytest.MonkeyPatch, method: str, change: Callable[[], AbstractContextManager[Any]]) -> None:
    """Apply `change` while `method` of the orders table runs."""
    original = getattr(OrdersTable, method)

    def changed(*args: Any, **kwargs: Any) -> Any:
        with change():
            return original(*args, **kwargs)

    patch.setattr(OrdersTable, method, changed)
