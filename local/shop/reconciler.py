"""Invocation of the running stack's reconciler."""

import json
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from local.emulator.process import open_emulator_client

_ALIAS = "live"  # AutoPublishAlias in template.yaml


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
