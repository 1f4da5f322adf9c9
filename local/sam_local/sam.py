"""`sam local`: the functions in Lambda's containers, on the tables of the running stack or of another DynamoDB."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from samtranslator.yaml_helper import yaml_parse

from command_line.environment import make_child_environment
from command_line.errors import CommandError
from command_line.output import Progress
from command_line.processes import start_process
from command_line.project import PROJECT, STATE
from delivery.packaging import layer_names
from local.build import BUILD_CACHE, RUNTIME, architecture, make_container_build
from local.emulator.process import make_client
from local.running import is_running, require_running_stack
from local.sam_local import container_engine
from local.sam_local.container_engine import ContainerEngine
from local.sam_local.dynamodb_proxy import serve_dynamodb_proxy

ENV_VARS = PROJECT / "env.local.json"
"""Sample for `--env-vars`, for the tables of another DynamoDB."""
EVENTS = PROJECT / "events"

Variables = dict[str, dict[str, str]]
"""Environment variables by logical id of the function."""

# `sam local` stops its containers one by one.
_STOP_SECONDS = 60
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_EVENTBRIDGE")
_DOCKER_VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")


@dataclass(frozen=True, slots=True)
class SamLocal:
    """`sam local` with its options. Both methods return its exit code."""

    template: Path
    env_vars: Path
    engine: ContainerEngine

    def start_api(self, port: int) -> int:
        # LAZY starts a container at a function's first call and keeps it. A start takes seconds.
        return self._run("start-api", "--port", str(port), "--warm-containers", "LAZY")

    def invoke(self, function: str, event: Path) -> int:
        """Invoke the function in `functions/FUNCTION` once. Its response goes to standard output."""
        return self._run("invoke", logical_id(function), "--event", event)

    def _run(self, *arguments: str | Path) -> int:
        command = [
            *("sam", "local", *arguments, "--template", self.template, "--env-vars", self.env_vars),
            *("--parameter-overrides", f"Runtime={RUNTIME} Architecture={architecture()}"),
            # SAM still pulls a missing image. A present one then needs no network.
            *("--skip-pull-image", *self.engine.sam_options()),
        ]
        with start_process(
            command, environment=_environment(), directory=PROJECT, log=None, stop_seconds=_STOP_SECONDS
        ) as process:
            return process.wait()


@contextmanager
def prepare_sam_local(env_vars: Path | None, progress: Progress, *, for_events: bool = False) -> Iterator[SamLocal]:
    """Prepare `sam local` for the block. Raises `CommandError` without a container engine or a stack.

    The functions' environment comes from the file `env_vars`, or else from the running stack. With `for_events` the
    authorizer also accepts the token of its sample event.
    """
    engine = container_engine.connect()
    environment = (
        nullcontext(env_vars) if env_vars else _write_env_vars(_require_tables(), engine, for_events=for_events)
    )
    build = make_container_build(PROJECT, BUILD_CACHE)
    with build.lock():
        if not build.is_current():
            with progress("Build the functions and layers (sam build)", build.fraction_built):
                build.make()
        template = _with_all_layers(build.template)
    with environment as file:
        yield SamLocal(template, file.resolve(), engine)


def _with_all_layers(built: Path) -> Path:
    """Write a copy of the built template without conditions on layers, and return its path.

    `sam local` omits conditional layers. An unused layer does no harm: only the dummy backend imports the dummy Stripe.
    """
    document = yaml_parse(built.read_text())
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        if "Layers" in properties:
            properties["Layers"] = [{"Ref": name} for name in layer_names(properties["Layers"])]
    copy = built.with_name("sam-local.json")
    copy.write_text(json.dumps(document))
    return copy


def logical_id(function: str) -> str:
    """Return the template's logical id of the function in `functions/FUNCTION`."""
    return "".join(word.capitalize() for word in function.split("_")) + "Function"


def read_function_variables(description: Mapping[str, Any], endpoint_url: str) -> Variables:
    """Return the deployed environment of each function, with DynamoDB and EventBridge at `endpoint_url`."""
    emulator = description["awsEndpointUrl"]
    with (
        closing(make_client(emulator, "cloudformation")) as cloudformation,
        closing(make_client(emulator, "lambda")) as lambda_,
    ):
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=description["stackName"])
        functions = {
            resource["LogicalResourceId"]: lambda_.get_function_configuration(
                FunctionName=resource["PhysicalResourceId"]
            )
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
        }
    return {
        name: {
            **(variables := configuration["Environment"]["Variables"]),
            **{variable: endpoint_url for variable in _ENDPOINT_VARIABLES if variable in variables},
        }
        for name, configuration in functions.items()
    }


def _require_tables() -> dict[str, Any]:
    if not is_running():
        raise CommandError(
            "No stack is running, so there are no tables. Start it in another terminal: make run\n"
            f"For tables of another DynamoDB, edit {ENV_VARS.name} and add ENV_VARS={ENV_VARS.name} to the command."
        )
    return require_running_stack()


@contextmanager
def _write_env_vars(description: Mapping[str, Any], engine: ContainerEngine, *, for_events: bool) -> Iterator[Path]:
    """Write the running stack's environment to a file for `--env-vars`, with endpoints that containers can reach."""
    with (
        _expose_to_containers(description["awsEndpointUrl"], engine) as endpoint_url,
        # Readable by its owner only, because it may hold the user's Stripe key.
        TemporaryDirectory(prefix="sam-local-", dir=STATE) as directory,
    ):
        variables = read_function_variables(description, endpoint_url)
        if for_events:
            _accept_event_token(variables)
        file = Path(directory) / "env.json"
        file.write_text(json.dumps(variables))
        yield file


@contextmanager
def _expose_to_containers(endpoint_url: str, engine: ContainerEngine) -> Iterator[str]:
    if engine.access is None:
        yield f"http://{engine.host}:{urlsplit(endpoint_url).port}"
    else:
        with serve_dynamodb_proxy(endpoint_url, engine.access) as port:
            yield f"http://{engine.host}:{port}"


def _accept_event_token(variables: Variables) -> None:
    """Make the authorizer accept the public token of `events/authorizer.json`, which expires in 2100."""
    authorizer = variables[logical_id("authorizer")]
    keys = [
        key
        for key_set in (authorizer["JWT_JWKS"], json.loads(ENV_VARS.read_text())["Parameters"]["JWT_JWKS"])
        for key in json.loads(key_set)["keys"]
    ]
    authorizer["JWT_JWKS"] = json.dumps({"keys": keys})


def _environment() -> dict[str, str]:
    engine = {name: os.environ[name] for name in _DOCKER_VARIABLES if name in os.environ}
    # SAM asks STS for the account id and continues without it. A closed port makes the request fail at once.
    no_account = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    return make_child_environment(STATE / "sam-local", {**engine, **no_account})
