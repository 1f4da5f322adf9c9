"""Quick start of a function. It imports this before all else, and calls `finish_start` last."""

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from order_payments.domain.errors import OrderNotFound, ProductNotFound
from order_payments.runtime.settings import InitializationType

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Next to nothing that imports make is garbage, and the search for it takes a tenth of a cold start.
gc.disable()


def finish_start(client: "DynamoDBClient | None" = None, warm_up: Callable[[], object] | None = None) -> None:
    """Collect garbage from now on, except what the start has made, which stays.

    If Lambda starts the function ahead of its requests, run `warm_up`: a read through `client` of an item that does
    not exist. It makes the TLS context and everything else that a first request makes. Otherwise it would only keep the
    first request waiting.
    """
    kind = InitializationType.from_environment()
    if kind.is_ahead_of_requests and warm_up is not None:
        _warm_up(warm_up)
    if kind is InitializationType.SNAP_START:
        if client is not None:
            # A snapshot's connections have ended by the time that it is restored, and do not know it.
            client.close()
        _reseed_random_after_restore()
    gc.freeze()
    gc.enable()


def _warm_up(warm_up: Callable[[], object]) -> None:
    """Run it, and log what fails: a role that was made just now may have no rights yet, say.

    No deployment fails of that. The first request meets what is still wrong by then.
    """
    try:
        with suppress(OrderNotFound, ProductNotFound):
            warm_up()
    except Exception:  # noqa: BLE001 - a version whose start fails is not published
        # Not imported above: the authorizer rehearses nothing, and starts without Powertools.
        from order_payments.runtime.observability import logger

        logger.warning("warm-up failed", exc_info=True)


def _reseed_random_after_restore() -> None:
    """Let every environment that a snapshot is restored to draw pauses of its own.

    They would all begin with the same random numbers, and so try again all at once. Ids come from the operating system,
    which is not part of the snapshot. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
    """
    import random

    from snapshot_restore_py import register_after_restore

    register_after_restore(random.seed)
