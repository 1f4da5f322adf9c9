"""`sam deploy` to the emulator, with workarounds for what the emulator ignores."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line.environment import LOCAL_REGION, make_child_environment
from command_line.processes import run_command
from local.emulator.process import Emulator
from local.gateway.responses import GatewayResponse, read_gateway_responses

STACK_NAME = "order-payments"
STAGE = "v1"

# Interval at which SAM polls the stack. Its default of 5 seconds is for AWS.
_POLL_SECONDS = "0.2"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stack: its outputs and the gateway responses of its API."""

    api_id: str
    orders_table: str
    products_table: str
    dummy_stripe_table: str | None
    gateway_responses: Mapping[str, GatewayResponse]


def deploy(template: Path, parameters: Mapping[str, str], emulator: Emulator, state: Path) -> Deployment:
    log = state / "logs" / "deploy.log"
    _sam_deploy(template, parameters, emulator, state, log)
    with closing(emulator.client("cloudformation")) as client:
        stack = client.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        transformed = client.get_template(StackName=STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    responses = read_gateway_responses(transformed)
    body = transformed["Resources"]["Api"]["Properties"]["Body"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    _complete_api(outputs["ApiId"], body, values, responses.values(), emulator)
    return Deployment(
        api_id=outputs["ApiId"],
        orders_table=outputs["OrdersTable"],
        products_table=outputs["ProductsTable"],
        dummy_stripe_table=outputs.get("DummyStripeTable"),
        gateway_responses=responses,
    )


def _sam_deploy(template: Path, parameters: Mapping[str, str], emulator: Emulator, state: Path, log: Path) -> None:
    # In a file, because every user of this machine can read a command line. JSON is valid YAML.
    overrides = state / "parameters.yaml"
    overrides.unlink(missing_ok=True)
    with os.fdopen(os.open(overrides, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(dict(parameters), file)
    run_command(
        [
            *("sam", "deploy", "--template-file", template, "--stack-name", STACK_NAME, "--region", LOCAL_REGION),
            *("--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--parameter-overrides", f"file://{overrides}"),
            *("--no-confirm-changeset", "--no-progressbar"),
        ],
        environment=make_child_environment(
            state / "home", {"AWS_ENDPOINT_URL": emulator.endpoint_url, "SAM_CLI_POLL_DELAY": _POLL_SECONDS}
        ),
        directory=state,
        log=log,
        label="sam deploy",
    )


def _complete_api(
    api_id: str,
    body: Mapping[str, Any],
    parameters: Mapping[str, str],
    gateway_responses: Iterable[GatewayResponse],
    emulator: Emulator,
) -> None:
    """Apply the parts of the API that MiniStack 1.5.33 ignores in its body, and fix the paths of throttles.

    MiniStack ignores the gateway responses and the CORS preflight responses. They take effect with a new deployment.
    It also keeps `~1` (for `/`) in the path of a method's throttle.
    """
    with closing(emulator.client("apigateway")) as client:
        for gateway_response in gateway_responses:
            client.put_gateway_response(
                restApiId=api_id,
                responseType=gateway_response.type,
                statusCode=str(gateway_response.status),
                responseParameters=dict(gateway_response.parameters),
                responseTemplates=dict(gateway_response.templates),
            )
        resources = client.get_resources(restApiId=api_id, limit=500)["items"]
        ids = {resource["path"]: resource["id"] for resource in resources}
        for path, operations in body["paths"].items():
            preflight = operations.get("options", {}).get("x-amazon-apigateway-integration", {})
            for response in preflight.get("responses", {}).values():
                client.put_integration_response(
                    restApiId=api_id,
                    resourceId=ids[path],
                    httpMethod="OPTIONS",
                    statusCode=response["statusCode"],
                    responseParameters={
                        name: _substitute(value, parameters) for name, value in response["responseParameters"].items()
                    },
                )
        client.create_deployment(restApiId=api_id, stageName=STAGE)
        settings = client.get_stage(restApiId=api_id, stageName=STAGE)["methodSettings"]
        for method, throttle in settings.items():
            if "~1" in method:
                operations = [
                    {"op": "replace", "path": f"{method}/throttling/{name}", "value": str(throttle[setting])}
                    for name, setting in (("burstLimit", "throttlingBurstLimit"), ("rateLimit", "throttlingRateLimit"))
                ]
                client.update_stage(restApiId=api_id, stageName=STAGE, patchOperations=operations)


def _substitute(value: str | Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Return a value of the API's body with the stack's parameters substituted."""
    if isinstance(value, str):
        return value
    return re.sub(r"\$\{(\w+)\}", lambda name: parameters[name[1]], value["Fn::Sub"])
