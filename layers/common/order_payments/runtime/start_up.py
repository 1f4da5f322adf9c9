"""Fast start of a function. Import this module first, and call `finish_start` last."""

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from order_payments.domain.errors import OrderNotFound, ProductNotFound
from order_payments.runtime.settings import InitializationType

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Imports create almost no garbage, and the search for it takes a tenth of a cold start.
gc.disable()


def finish_start(client: "DynamoDBClient | None" = None, warm_up: Callable[[], object] | None = None) -> None:
    """Enable garbage collection, without the objects that the start has created.

    If Lambda starts the function ahead of requests, run `warm_up` first: a read through `client` of an item that does
    not exist. It creates the TLS context and everything else that the first request would create. On demand, it would
    only delay the first request.
    """
    kind = InitializationType.from_environment()
    if kind.is_ahead_of_requests and warm_up is not None:
        _warm_up(warm_up)
    if kind is InitializationType.SNAP_START:
        if client is not None:
            # When a snapshot is restored, its connections are dead, which the client cannot detect.
            client.close()
        _reseed_random_after_restore()
    gc.freeze()
    gc.enable()


def _warm_up(warm_up: Callable[[], object]) -> None:
    """Run `warm_up`, and log its failure: a new role, for example, may have no permissions yet.

    A failure does not fail the deployment. If the cause persists, the first request reports it.
    """
    try:
        with suppress(OrderNotFound, ProductNotFound):
            warm_up()
    except Exception:  # noqa: BLE001 - a version whose start fails is not published
        # Imported here, because the authorizer has no warm-up and starts without Powertools.
        from order_payments.runtime.observability import logger

        logger.warning("warm-up failed", exc_info=True)


def _reseed_random_after_restore() -> None:
    """Seed the random numbers in each environment that is restored from a snapshot.

    Otherwise all environments draw the same pauses and retry at the same time. Ids come from the operating system,
    which is not part of the snapshot. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
    """
    import random

    from snapshot_restore_py import register_after_restore

    register_after_restore(random.seed)
