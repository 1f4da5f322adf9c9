"""`make sam-local` and `make sam-invoke`, without the containers."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from typer.testing import CliRunner

from command_line.errors import CommandError
from command_line.output import show_no_progress
from delivery.rendering import template
from local import cli
from local.build import RUNTIME, architecture
from local.sam_local import sam as sam_local
from local.sam_local.container_engine import ContainerAccess, ContainerEngine
from local.sam_local.sam import ENV_VARS, EVENTS, Variables, logical_id, prepare_sam_local

DESCRIPTION = {"awsEndpointUrl": "http://127.0.0.1:4711", "stackName": "order-payments"}
TEMPLATE = """
Parameters:
  Backend: {Type: String, Default: dummy}
Conditions:
  UseDummy: !Equals [!Ref Backend, dummy]
Resources:
  Pay:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Pay
      Handler: handler.handler
      Runtime: python3.13
      Layers: [!Ref Common, !If [UseDummy, !Ref Dummy, !Ref AWS::NoValue]]
  Common:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: Common}
  Dummy:
    Type: AWS::Serverless::LayerVersion
    Condition: UseDummy
    Properties: {ContentUri: Dummy}
"""
KEY = {"kty": "OKP", "kid": "stack"}


class Process:
    def __init__(self, exit_code: int) -> None:
        self._exit_code = exit_code

    def wait(self) -> int:
        return self._exit_code


class Sam:
    """A fake `sam` program that records its commands, environments and variables of the functions."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[Mapping[str, str]] = []
        self.variables: list[dict[str, Any]] = []
        self.exit_code = 0

    @contextmanager
    def start_process(self, command: list[object], *, environment: Mapping[str, str], **_: object) -> Iterator[Process]:
        words = [str(word) for word in command]
        self.commands.append(words)
        self.environments.append(environment)
        self.variables.append(json.loads(Path(words[words.index("--env-vars") + 1]).read_text()))
        yield Process(self.exit_code)


class CurrentBuild:
    def __init__(self, template: Path) -> None:
        self.template = template

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def is_current(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to an engine in a virtual machine, as on macOS."""
    monkeypatch.setattr(
        "local.sam_local.container_engine.connect", lambda: ContainerEngine("host.docker.internal", None)
    )


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sam:
    """Return the fake program, in a built checkout with a running stack."""
    sam = Sam()

    def read_variables(_: object, endpoint_url: str) -> Variables:
        key_set = json.dumps({"keys": [KEY]})
        return {
            "AuthorizerFunction": {"JWT_JWKS": key_set, "AWS_ENDPOINT_URL_DYNAMODB": endpoint_url},
            "CreateOrderFunction": {"ORDERS_TABLE": "orders-1", "AWS_ENDPOINT_URL_DYNAMODB": endpoint_url},
        }

    monkeypatch.setattr(sam_local, "STATE", tmp_path)
    monkeypatch.setattr(sam_local, "start_process", sam.start_process)
    monkeypatch.setattr(sam_local, "is_running", lambda: True)
    monkeypatch.setattr(sam_local, "require_running_stack", lambda: DESCRIPTION)
    monkeypatch.setattr(sam_local, "read_function_variables", read_variables)
    built = tmp_path / "template.yaml"
    built.write_text(TEMPLATE)
    monkeypatch.setattr(sam_local, "make_container_build", lambda *_: CurrentBuild(built))
    return sam


def test_logical_id_of_a_folder_equals_the_templates() -> None:
    functions = {
        name: resource["Properties"]["CodeUri"].removeprefix("functions/")
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }

    assert {logical_id(folder): folder for folder in functions.values()} == functions


def test_api_uses_the_tables_of_the_running_stack(sam: Sam, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["sam-local", "--port", "3005"])

    assert result.exit_code == 0
    assert "http://127.0.0.1:3005" in result.output
    ((command,), (variables,)) = (sam.commands, sam.variables)
    assert command[:5] == ["sam", "local", "start-api", "--port", "3005"]
    assert command[command.index("--template") + 1] == str(tmp_path / "sam-local.json")
    assert command[command.index("--parameter-overrides") + 1] == f"Runtime={RUNTIME} Architecture={architecture()}"
    assert variables["CreateOrderFunction"] == {
        "ORDERS_TABLE": "orders-1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://host.docker.internal:4711",
    }
    assert not list(tmp_path.glob("sam-local-*"))


@pytest.mark.usefixtures("sam")
@pytest.mark.filterwarnings("ignore:.* is deprecated")
def test_sam_finds_conditional_layers() -> None:
    with prepare_sam_local(None, show_no_progress) as local:
        stacks, _ = SamLocalStackProvider.get_stacks(str(local.template))

    (function,) = SamFunctionProvider(stacks).get_all()
    assert [layer.name for layer in function.layers] == ["Common", "Dummy"]


def test_bridge_containers_call_dynamodb_through_the_proxy(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    access = ContainerAccess("127.0.0.1", IPv4Network("127.0.0.0/8"))
    monkeypatch.setattr(
        "local.sam_local.container_engine.connect", lambda: ContainerEngine("host.docker.internal", access)
    )

    with prepare_sam_local(None, show_no_progress) as local:
        local.start_api(3001)

    assert sam.commands[0][-2:] == ["--add-host", "host.docker.internal:127.0.0.1"]
    url = sam.variables[0]["CreateOrderFunction"]["AWS_ENDPOINT_URL_DYNAMODB"]
    assert url.startswith("http://host.docker.internal:")
    assert not url.endswith(":4711")


def test_function_is_invoked_with_its_sample_event(sam: Sam) -> None:
    assert CliRunner().invoke(cli.app, ["sam-invoke"], env={"FUNCTION": "create_order"}).exit_code == 0

    assert sam.commands[0][2:6] == ["invoke", "CreateOrderFunction", "--event", str(EVENTS / "create_order.json")]


def test_sample_token_is_valid_for_invoke_but_not_for_the_api(sam: Sam) -> None:
    CliRunner().invoke(cli.app, ["sam-invoke", "--function", "authorizer"])
    CliRunner().invoke(cli.app, ["sam-local"])

    invoked, served = (json.loads(variables["AuthorizerFunction"]["JWT_JWKS"])["keys"] for variables in sam.variables)
    assert [key["kid"] for key in invoked] == ["stack", "events"]
    assert [key["kid"] for key in served] == ["stack"]


def test_given_environment_file_is_used_unchanged(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_local, "is_running", lambda: False)

    assert CliRunner().invoke(cli.app, ["sam-local"], env={"ENV_VARS": str(ENV_VARS)}).exit_code == 0

    assert sam.variables == [json.loads(ENV_VARS.read_text())]


def test_sam_gets_docker_host_but_no_aws_settings_of_the_user(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/some.sock")
    monkeypatch.setenv("AWS_PROFILE", "production")

    CliRunner().invoke(cli.app, ["sam-local"])

    assert sam.environments[0]["DOCKER_HOST"] == "unix:///run/some.sock"
    assert "AWS_PROFILE" not in sam.environments[0]


def test_exit_code_of_sam_is_returned(sam: Sam) -> None:
    sam.exit_code = 3

    assert CliRunner().invoke(cli.app, ["sam-local"]).exit_code == 3


def test_missing_stack_is_reported_with_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_local, "is_running", lambda: False)

    with (
        pytest.raises(CommandError, match=r"(?s)make run.*ENV_VARS=env\.local\.json"),
        prepare_sam_local(None, show_no_progress),
    ):
        pass


@pytest.mark.parametrize("command", [["sam-local"], ["sam-invoke", "--function", "create_order"]])
def test_starting_stack_is_not_reported_as_missing(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.running.is_running", lambda *_: True)
    monkeypatch.setattr("local.running.find_running_stack", lambda: None)
    monkeypatch.setattr(sam_local, "is_running", lambda: True)

    result = CliRunner().invoke(cli.app, command)

    assert "The stack is starting" in str(result.exception)


def test_unknown_function_is_refused_with_the_valid_ones() -> None:
    result = CliRunner().invoke(cli.app, ["sam-invoke", "--function", "create_orders"])

    assert isinstance(result.exception, CommandError)
    assert "create_order, " in str(result.exception)
