"""Invocation of the running stack's reconciler, and the attempts that it has not settled."""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from command_line.errors import CommandError
from local.emulator.process import open_emulator_client
from order_payments.payments import LEASE
from order_payments.runtime.clock import from_rfc3339

_ALIAS = "live"  # AutoPublishAlias in template.yaml
_RETRY_SECONDS = 5


def run(description: Mapping[str, Any]) -> dict[str, int]:
    """Invoke the reconciler of the stack that `stack.json` describes. Return its tally."""
    with open_emulator_client(description["awsEndpointUrl"], "cloudformation") as client:
        resource = client.describe_stack_resource(
            StackName=description["stackName"], LogicalResourceId="ReconcilePaymentsFunction"
        )
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    with open_emulator_client(description["awsEndpointUrl"], "lambda") as client:
        response = client.invoke(FunctionName=name, Qualifier=_ALIAS, Payload=b"{}")
        tally: dict[str, int] = json.load(response["Payload"])
    if "FunctionError" in response:
        raise CommandError("The reconciler failed. See .local/logs/functions.log.")
    return tally


def seconds_to_settle(description: Mapping[str, Any]) -> list[int]:
    """Return for each unsettled order in how many seconds the reconciler can settle it, soonest first.

    0: it can try at once, or it tried in vain.
    """
    with open_emulator_client(description["awsEndpointUrl"], "dynamodb") as client:
        pages = client.get_paginator("scan").paginate(
            TableName=description["tables"]["orders"], IndexName="unsettled", ProjectionExpression="unsettledSince"
        )
        times = [item["unsettledSince"]["S"] for page in pages for item in page["Items"]]
    ends = [(from_rfc3339(text) + LEASE).timestamp() for text in times]
    return sorted(max(0, math.ceil(end - time.time())) for end in ends)


def describe_unsettled(seconds: list[int]) -> str:
    """Describe the unsettled orders, given the result of `seconds_to_settle`."""
    waiting = [each for each in seconds if each > 0]
    parts = []
    if waiting:
        soonest, latest = waiting[0], waiting[-1]
        time_left = f"{soonest} s" if soonest == latest else f"{soonest} to {latest} s"
        parts.append(f"{len(waiting)} in flight, {'settles' if len(waiting) == 1 else 'settle'} in {time_left}")
    if overdue := len(seconds) - len(waiting):
        parts.append(f"{overdue} tried and not settled yet")
    return "; ".join(parts) or "nothing in flight"


def settle_all(
    description: Mapping[str, Any], on_wait: Callable[[str], None], pause: Callable[[float], None] = time.sleep
) -> dict[str, int]:
    """Run the reconciler until no order is unsettled. Return the sum of the tallies.

    `on_wait` receives the description of the unsettled orders before each pause.
    """
    total = run(description)
    while seconds := seconds_to_settle(description):
        on_wait(describe_unsettled(seconds))
        pause(seconds[0] or _RETRY_SECONDS)
        tally = run(description)
        total = {name: total[name] + number for name, number in tally.items()}
    return total
