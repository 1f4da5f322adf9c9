"""A deployment to AWS takes the parameters of last time, and publishes the functions anew."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from samcli.cli.types import CfnParameterOverridesType
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from delivery.release import command, given_parameters, parameters_for, parameters_in, parameters_of, release
from delivery.rendering import template

Deploy = Callable[..., tuple[Result, list["Ran"]]]

TARGET = {"Runtime": "python3.13", "Architecture": "arm64"}
KNOWN = template()["Parameters"].keys()
SECRET = [name for name, parameter in template()["Parameters"].items() if parameter.get("NoEcho")]


class Ran(NamedTuple):
    """A command that was run, and the file of parameters that it read."""

    arguments: list[str]
    parameters: dict[str, str]
    file: Path


def for_staging(kept: dict[str, str], given: dict[str, str] | None = None) -> dict[str, str]:
    return parameters_for(kept, TARGET, release="1795500000", config_env="staging", known=KNOWN, given=given)


def kept_by(line: str) -> dict[str, str]:
    return parameters_of(tomllib.loads(f"[default.deploy.parameters]\n{line}"), "default")


@pytest.mark.parametrize(
    "line",
    [
        r'parameter_overrides = "Runtime=\"python3.13\" JwtIssuer=\"https://id.example/?a=b c\""',
        'parameter_overrides = ["Runtime=python3.13", "JwtIssuer=https://id.example/?a=b c"]',
    ],
)
def test_the_parameters_of_last_time_are_read_however_sam_keeps_them(line: str) -> None:
    assert kept_by(line) == {"Runtime": "python3.13", "JwtIssuer": "https://id.example/?a=b c"}


def test_each_environment_has_parameters_of_its_own() -> None:
    samconfig = tomllib.loads('[staging.deploy.parameters]\nparameter_overrides = "LogLevel=DEBUG"')

    assert parameters_of(samconfig, "staging") == {"LogLevel": "DEBUG"}
    assert parameters_of(samconfig, "production") == {}


def test_what_was_given_last_time_is_given_again_with_a_release_of_its_own(tmp_path: Path) -> None:
    key_set = '{"keys": [{"kty": "RSA"}]}'
    kept = {
        "JwtIssuer": "https://id.example/?a=b c",
        "JwtJwks": key_set,
        "CorsAllowedOrigins": "",
        "LogLevel": r"back\slash",
        "Release": "1795400000",
    }

    assert as_sam_reads(for_staging(kept), tmp_path) == {**kept, **TARGET, "Release": "1795500000"}


def as_sam_reads(parameters: dict[str, str], folder: Path) -> dict[str, str]:
    file = folder / "parameters.yaml"
    file.write_text(json.dumps(parameters))
    argument = command(file, config_env="staging", guided=False)[-1]
    read: dict[str, str] = CfnParameterOverridesType().convert((argument,), None, None)
    return read


def test_what_was_built_for_another_machine_is_not_deployed() -> None:
    with pytest.raises(CommandError, match="Architecture=x86_64, and Architecture=arm64 was built"):
        for_staging({"Architecture": "x86_64"})


def test_what_is_given_counts_before_what_is_kept() -> None:
    given = given_parameters("LogLevel=INFO CorsAllowedOrigins='https://a.example, https://b.example'")

    assert for_staging({"LogLevel": "DEBUG", "RecoveryDays": "7"}, given) == {
        **TARGET,
        "LogLevel": "INFO",
        "RecoveryDays": "7",
        "CorsAllowedOrigins": "https://a.example, https://b.example",
        "Release": "1795500000",
    }


@pytest.mark.parametrize("text", ["LogLevel", "=DEBUG", "--guided", "LogLevel = DEBUG", "LogLevel='DEBUG"])
def test_what_is_no_parameter_is_refused_with_what_is_wrong(text: str) -> None:
    with pytest.raises(CommandError, match="PARAMETERS must be Name=value"):
        given_parameters(text)


def test_where_nobody_attends_nobody_is_asked() -> None:
    with pytest.raises(CommandError, match="no parameters for prodution"):
        parameters_for({}, TARGET, release="1795500000", config_env="prodution", known=KNOWN, unattended=True)


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Run `make deploy` of `dev` with variables, up to the command that it would run."""

    def run(*options: str, **variables: str) -> tuple[Result, list[Ran]]:
        ran: list[Ran] = []

        def keep(arguments: list[str]) -> int:
            file = arguments[-1].removeprefix("file://")
            ran.append(Ran(arguments, json.loads(Path(file).read_text()), Path(file)))
            return 0

        monkeypatch.setattr("delivery.release.run_on_this_terminal", keep)
        app = typer.Typer()
        app.command()(release)
        environment = {"CI": "", "CONFIG_ENV": "dev", "PARAMETERS": "", "PARAMETERS_FILE": "", "ROLE_ARN": ""}
        arguments = ["--runtime", "python3.13", "--architecture", "arm64", *options]
        return CliRunner(env=environment | variables).invoke(app, arguments), ran

    return run


def test_the_first_time_sam_asks_for_the_parameters(deploy: Deploy) -> None:
    (first,) = deploy(CONFIG_ENV="new")[1]
    (later,) = deploy()[1]

    assert "--guided" in first.arguments
    assert "--guided" not in later.arguments


def test_cloudformation_acts_as_the_role_that_is_named(deploy: Deploy) -> None:
    (ran,) = deploy(ROLE_ARN="arn:role")[1]

    assert ran.arguments[ran.arguments.index("--role-arn") + 1] == "arn:role"


@pytest.mark.parametrize(("ci", "attended"), [("true", False), ("1", False), ("false", True), ("", True)])
def test_the_pipeline_is_known_by_its_variable(deploy: Deploy, ci: str, *, attended: bool) -> None:
    result, (ran,) = deploy(CI=ci)

    assert result.exit_code == 0, result.output
    assert ("--no-confirm-changeset" not in ran.arguments) is attended


@pytest.mark.parametrize("name", SECRET)
def test_secret_on_the_command_line_is_refused(deploy: Deploy, name: str) -> None:
    result, ran = deploy(PARAMETERS=f"LogLevel=INFO {name}=not-to-be-shown")

    assert (result.exit_code, ran) == (1, [])
    assert f"PARAMETERS must not have {name}" in str(result.exception)
    assert "not-to-be-shown" not in str(result.exception)


def test_secret_of_a_file_is_on_no_command_line(deploy: Deploy, secrets: Path) -> None:
    result, (ran,) = deploy(PARAMETERS="LogLevel=INFO", PARAMETERS_FILE=str(secrets))

    assert result.exit_code == 0, result.output
    assert (ran.parameters["StripeSecretKey"], ran.parameters["LogLevel"]) == ("sk_test_not to be shown", "INFO")
    assert "not to be shown" not in " ".join(ran.arguments)
    assert not ran.file.exists()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text("StripeSecretKey='sk_test_not to be shown'\nStripeWebhookSecret=whsec_1\n")
    file.chmod(0o600)
    return file


def test_file_of_parameters_that_others_can_read_is_refused(secrets: Path) -> None:
    secrets.chmod(0o640)

    with pytest.raises(CommandError, match="chmod 600"):
        parameters_in(secrets)


@pytest.mark.parametrize("content", ["sk_test_secret", "StripeSecretKey='sk_test_secret", "StripeSecretKey = sk_test"])
def test_file_that_has_no_parameters_is_refused_without_its_content(secrets: Path, content: str) -> None:
    secrets.write_text(content)

    with pytest.raises(CommandError, match="must have lines of Name=value") as refused:
        parameters_in(secrets)
    assert "sk_test" not in str(refused.value)


def test_missing_file_of_parameters_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"PARAMETERS_FILE=.* cannot be read"):
        parameters_in(tmp_path / "none")


def test_unusable_aws_settings_are_reported_before_the_build(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none-such")

    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (1, [])
    assert "The AWS settings are invalid" in str(result.exception)


def test_check_deploys_nothing(deploy: Deploy) -> None:
    result, ran = deploy("--check")

    assert (result.exit_code, ran) == (0, [])


@pytest.mark.parametrize("where", ["kept", "given"])
def test_a_parameter_that_the_template_lacks_is_refused_for_sam_passes_over_it(where: str) -> None:
    parameters: dict[str, dict[str, str]] = {"kept": {"LogLevel": "DEBUG"}, "given": {}}
    parameters[where] |= {"AlarmTopicARN": "arn:aws:sns:eu-central-1:1:a"}

    with pytest.raises(CommandError, match="no parameter AlarmTopicARN"):
        for_staging(**parameters)
