"""`sam deploy` of the built template to the emulator, and what the emulator does not take from it by itself."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line.environment import REGION, make_child_environment
from command_line.processes import run_command
from local.emulator.process import Emulator
from local.gateway.responses import GatewayResponse, read_gateway_responses

STACK_NAME = "order-payments"
STAGE = "v1"

# SAM waits this long between two looks at the stack. Its own 5 seconds are for AWS.
_POLL_SECONDS = "0.2"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stack: the template's outputs, and what its API answers by itself."""

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
    # In a file rather than on the command line, which everybody on this machine can read. JSON is YAML, too.
    overrides = state / "parameters.yaml"
    overrides.unlink(missing_ok=True)
    with os.fdopen(os.open(overrides, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(dict(parameters), file)
    run_command(
        [
            *("sam", "deploy", "--template-file", template, "--stack-name", STACK_NAME, "--region", REGION),
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
    responses: Iterable[GatewayResponse],
    emulator: Emulator,
) -> None:
    """Do what CloudFormation does on AWS: of an API's body MiniStack 1.5.33 passes over the answers of its own.

    Those are the gateway responses, and the answers to the preflight requests of web pages. A deployment fixes them,
    so the stage needs one more. And it takes the path of a method's throttle as it is written, with `~1` for `/`.
    """
    with closing(emulator.client("apigateway")) as client:
        for response in responses:
            client.put_gateway_response(
                restApiId=api_id,
                responseType=response.type,
                statusCode=str(response.status),
                responseParameters=dict(response.parameters),
                responseTemplates=dict(response.templates),
            )
        resources = client.get_resources(restApiId=api_id, limit=500)["items"]
        ids = {resource["path"]: resource["id"] for resource in resources}
        for path, operations in body["paths"].items():
            preflight = operations.get("options", {}).get("x-amazon-apigateway-integration", {})
            for answer in preflight.get("responses", {}).values():
                client.put_integration_response(
                    restApiId=api_id,
                    resourceId=ids[path],
                    httpMethod="OPTIONS",
                    statusCode=answer["statusCode"],
                    responseParameters={
                        name: _substituted(value, parameters) for name, value in answer["responseParameters"].items()
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


def _substituted(value: str | Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Return a value of the API's body, with the stack's parameters in the place of their names."""
    if isinstance(value, str):
        return value
    return re.sub(r"\$\{(\w+)\}", lambda name: parameters[name[1]], value["Fn::Sub"])
