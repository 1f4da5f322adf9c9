"""The running stack's reconciler, called now."""

import json
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from local.emulator.process import open_aws_client

_ALIAS = "live"  # as `template.yaml` has it (AutoPublishAlias)


def run(description: Mapping[str, Any]) -> dict[str, int]:
    """Call the reconciler of the stack that `stack.json` describes. Returns its tally."""
    with open_aws_client(description["awsEndpointUrl"], "cloudformation") as client:
        resource = client.describe_stack_resource(
            StackName=description["stackName"], LogicalResourceId="ReconcilePaymentsFunction"
        )
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    with open_aws_client(description["awsEndpointUrl"], "lambda") as client:
        answer = client.invoke(FunctionName=name, Qualifier=_ALIAS, Payload=b"{}")
        tally: dict[str, int] = json.load(answer["Payload"])
    if "FunctionError" in answer:
        raise CommandError("The reconciler failed. See .local/logs/functions.log.")
    return tally
