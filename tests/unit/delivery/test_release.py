"""Deployments to AWS: parameters, secrets and the `sam deploy` command."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
import typer
from samcli.cli.types import CfnParameterOverridesType
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from delivery.release import (
    deploy_command,
    merge_parameters,
    parse_parameters,
    print_next_steps,
    read_parameters_file,
    release,
)
from delivery.rendering import template
from delivery.samconfig import saved_parameters
from tests.support.moto import aws_on_moto

Deploy = Callable[..., tuple[Result, list["RanCommand"]]]

TARGET = {"Runtime": "python3.13", "Architecture": "arm64"}
KNOWN = template()["Parameters"].keys()
SECRET = [name for name, parameter in template()["Parameters"].items() if parameter.get("NoEcho")]


class RanCommand(NamedTuple):
    """A command that ran, and the parameters file that it read."""

    arguments: list[str]
    parameters: dict[str, str]
    file: Path


def merge_for_staging(saved: dict[str, str], given: dict[str, str] | None = None) -> dict[str, str]:
    return merge_parameters(saved, TARGET, release="1795500000", config_env="staging", known=KNOWN, given=given)


def saved_in(line: str) -> dict[str, str]:
    return saved_parameters(tomllib.loads(f"[default.deploy.parameters]\n{line}"), "default")


@pytest.mark.parametrize(
    "line",
    [
        r'parameter_overrides = "Runtime=\"python3.13\" JwtIssuer=\"https://id.example/?a=b c\""',
        'parameter_overrides = ["Runtime=python3.13", "JwtIssuer=https://id.example/?a=b c"]',
    ],
)
def test_saved_parameters_are_read_as_text_or_list(line: str) -> None:
    assert saved_in(line) == {"Runtime": "python3.13", "JwtIssuer": "https://id.example/?a=b c"}


def test_each_environment_has_its_own_parameters() -> None:
    samconfig = tomllib.loads('[staging.deploy.parameters]\nparameter_overrides = "LogLevel=DEBUG"')

    assert saved_parameters(samconfig, "staging") == {"LogLevel": "DEBUG"}
    with pytest.raises(CommandError, match=r"no environment prod\. Set CONFIG_ENV to one of: staging"):
        saved_parameters(samconfig, "prod")


def test_saved_parameters_are_reused_with_a_new_release(tmp_path: Path) -> None:
    key_set = '{"keys": [{"kty": "RSA"}]}'
    saved = {
        "JwtIssuer": "https://id.example/?a=b c",
        "JwtJwks": key_set,
        "CorsAllowedOrigins": "",
        "LogLevel": r"back\slash",
        "Release": "1795400000",
    }

    assert read_with_sam(merge_for_staging(saved), tmp_path) == {**saved, **TARGET, "Release": "1795500000"}


def read_with_sam(parameters: dict[str, str], folder: Path) -> dict[str, str]:
    file = folder / "parameters.yaml"
    file.write_text(json.dumps(parameters))
    argument = deploy_command(file, config_env="staging", guided=False)[-1]
    read: dict[str, str] = CfnParameterOverridesType().convert((argument,), None, None)
    return read


def test_build_for_another_architecture_is_not_deployed() -> None:
    with pytest.raises(CommandError, match="Architecture=x86_64, but the build has Architecture=arm64"):
        merge_for_staging({"Architecture": "x86_64"})


def test_given_parameters_override_saved_ones() -> None:
    given = parse_parameters("LogLevel=INFO CorsAllowedOrigins='https://a.example, https://b.example'")

    assert merge_for_staging({"LogLevel": "DEBUG", "RecoveryDays": "7"}, given) == {
        **TARGET,
        "LogLevel": "INFO",
        "RecoveryDays": "7",
        "CorsAllowedOrigins": "https://a.example, https://b.example",
        "Release": "1795500000",
    }


@pytest.mark.parametrize("text", ["LogLevel", "=DEBUG", "--guided", "LogLevel = DEBUG", "LogLevel='DEBUG"])
def test_malformed_parameters_are_refused(text: str) -> None:
    with pytest.raises(CommandError, match="PARAMETERS must be Name=value"):
        parse_parameters(text)


def test_unattended_run_without_saved_parameters_is_refused() -> None:
    with pytest.raises(CommandError, match="no parameters for prodution"):
        merge_parameters({}, TARGET, release="1795500000", config_env="prodution", known=KNOWN, unattended=True)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS account on moto, with a region."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with aws_on_moto():
        yield


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, account: None) -> Deploy:  # noqa: ARG001 - the command asks AWS who it is
    """Run the release command for `dev` with environment variables, recording the commands instead of running them."""
    monkeypatch.setattr("delivery.release.print_next_steps", lambda options: None)  # noqa: ARG005 - nothing is deployed

    def run(*options: str, **variables: str) -> tuple[Result, list[RanCommand]]:
        ran: list[RanCommand] = []

        def record(arguments: list[str]) -> int:
            file = arguments[-1].removeprefix("file://")
            ran.append(RanCommand(arguments, json.loads(Path(file).read_text()), Path(file)))
            return 0

        monkeypatch.setattr("delivery.release.run_in_terminal", record)
        app = typer.Typer()
        app.command()(release)
        environment = {"CI": "", "CONFIG_ENV": "dev", "PARAMETERS": "", "PARAMETERS_FILE": "", "ROLE_ARN": ""}
        arguments = ["--runtime", "python3.13", "--architecture", "arm64", *options]
        return CliRunner(env=environment | variables).invoke(app, arguments), ran

    return run


def test_sam_asks_for_parameters_only_on_the_first_deployment(deploy: Deploy) -> None:
    (first,) = deploy(CONFIG_ENV="default")[1]
    (later,) = deploy()[1]

    assert "--guided" in first.arguments
    assert "--guided" not in later.arguments


def test_cloudformation_assumes_the_given_role(deploy: Deploy) -> None:
    (ran,) = deploy(ROLE_ARN="arn:role")[1]

    assert ran.arguments[ran.arguments.index("--role-arn") + 1] == "arn:role"


@pytest.mark.parametrize(("ci", "attended"), [("true", False), ("1", False), ("false", True), ("", True)])
def test_run_with_ci_variable_is_unattended(deploy: Deploy, ci: str, *, attended: bool) -> None:
    result, (ran,) = deploy(CI=ci)

    assert result.exit_code == 0, result.output
    assert ("--no-confirm-changeset" not in ran.arguments) is attended


@pytest.mark.parametrize("name", SECRET)
def test_secret_on_the_command_line_is_refused(deploy: Deploy, name: str) -> None:
    result, ran = deploy(PARAMETERS=f"LogLevel=INFO {name}=not-to-be-shown")

    assert (result.exit_code, ran) == (1, [])
    assert f"PARAMETERS must not contain {name}" in str(result.exception)
    assert "not-to-be-shown" not in str(result.exception)


def test_secret_from_a_file_is_not_on_the_command_line(deploy: Deploy, secrets: Path) -> None:
    result, (ran,) = deploy(PARAMETERS="LogLevel=INFO", PARAMETERS_FILE=str(secrets))

    assert result.exit_code == 0, result.output
    assert (ran.parameters["StripeSecretKey"], ran.parameters["LogLevel"]) == ("sk_test_not_to_be_shown", "INFO")
    assert "not_to_be_shown" not in " ".join(ran.arguments)
    assert not ran.file.exists()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text("StripeSecretKey='sk_test_not_to_be_shown'\nStripeWebhookSecret=whsec_1\n")
    file.chmod(0o600)
    return file


def test_parameters_file_that_others_can_read_is_refused(secrets: Path) -> None:
    secrets.chmod(0o640)

    with pytest.raises(CommandError, match="chmod 600"):
        read_parameters_file(secrets)


@pytest.mark.parametrize("content", ["sk_test_secret", "StripeSecretKey='sk_test_secret", "StripeSecretKey = sk_test"])
def test_malformed_parameters_file_is_refused_without_its_content(secrets: Path, content: str) -> None:
    secrets.write_text(content)

    with pytest.raises(CommandError, match="must have lines of Name=value") as refused:
        read_parameters_file(secrets)
    assert "sk_test" not in str(refused.value)


def test_missing_parameters_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"PARAMETERS_FILE=.* cannot be read"):
        read_parameters_file(tmp_path / "none")


def test_unusable_aws_settings_are_reported_before_the_build(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none-such")

    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (1, [])
    assert "The AWS settings are invalid" in str(result.exception)


@pytest.mark.parametrize("environment", ["prod", "version", "Dev"])
def test_unknown_environment_is_refused_with_the_known_ones(deploy: Deploy, environment: str) -> None:
    result, ran = deploy("--check", CONFIG_ENV=environment)

    assert (result.exit_code, ran) == (1, [])
    assert "one of: default, dev, staging, production" in str(result.exception)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"CONFIG_ENV": "production"}, "StripeSecretArn"),
        ({"PARAMETERS": "LogLevel=LOUD"}, "LogLevel"),
        ({"PARAMETERS": "JwtIssuer=https://id.example"}, "JwtIssuer"),
    ],
    ids=["missing", "not allowed", "contradicting"],
)
def test_invalid_parameters_are_refused_before_the_build(deploy: Deploy, variables: dict[str, str], name: str) -> None:
    result, ran = deploy("--check", **variables)

    assert (result.exit_code, ran) == (1, [])
    assert name in str(result.exception)


def test_missing_region_is_reported_before_the_build(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (1, [])
    assert "export AWS_REGION=" in str(result.exception)


def test_missing_credentials_are_reported_before_the_build(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (1, [])
    assert "There are no AWS credentials" in str(result.exception)


@pytest.mark.usefixtures("account")
def test_next_steps_are_printed_after_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {
        name: {"Value": value} for name, value in {"ApiUrl": "https://api.example/v1", "UserPoolId": "p"}.items()
    }
    topic = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": outputs}
    boto3.client("cloudformation").create_stack(StackName="shop", TemplateBody=json.dumps(topic))

    print_next_steps({"stack_name": "shop"})

    printed = capsys.readouterr().out
    for step in ("https://api.example/v1/products", "./operate user", "./operate token", "sam delete"):
        assert step in printed
    assert printed.count("--stack-name shop --region eu-central-1") == 3


def test_check_deploys_nothing(deploy: Deploy) -> None:
    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (0, [])


@pytest.mark.parametrize("source", ["saved", "given"])
def test_parameter_that_the_template_lacks_is_refused(source: str) -> None:
    parameters: dict[str, dict[str, str]] = {"saved": {"LogLevel": "DEBUG"}, "given": {}}
    parameters[source] |= {"AlarmTopicARN": "arn:aws:sns:eu-central-1:1:a"}

    with pytest.raises(CommandError, match="no parameter AlarmTopicARN"):
        merge_for_staging(**parameters)
