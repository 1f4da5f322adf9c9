"""A deployment to AWS takes the parameters of last time, and publishes the functions anew."""

import tomllib

import pytest
import typer
from samcli.cli.types import CfnParameterOverridesType
from typer.testing import CliRunner

from local.errors import StackError
from local.release import command, given_parameters, main, parameters_of
from local.rendering import template

TARGET = {"Runtime": "python3.13", "Architecture": "arm64"}
KNOWN = template()["Parameters"].keys()


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


def test_the_first_time_sam_asks_for_the_parameters() -> None:
    first = command({}, TARGET, release="1795500000", config_env="default", known=KNOWN)
    later = command({"LogLevel": "DEBUG"}, TARGET, release="1795500000", config_env="default", known=KNOWN)

    assert "--guided" in first
    assert "--guided" not in later


def test_what_was_given_last_time_is_given_again_with_a_release_of_its_own() -> None:
    key_set = '{"keys": [{"kty": "RSA"}]}'
    kept = {
        "JwtIssuer": "https://id.example/?a=b c",
        "JwtJwks": key_set,
        "CorsAllowedOrigins": "",
        "LogLevel": r"back\slash",
        "Release": "1795400000",
    }

    given = command(kept, TARGET, release="1795500000", config_env="staging", known=KNOWN)[-1]

    assert CfnParameterOverridesType().convert((given,), None, None) == {
        **TARGET,
        "JwtIssuer": "https://id.example/?a=b c",
        "JwtJwks": key_set,
        "CorsAllowedOrigins": "",
        "LogLevel": r"back\slash",
        "Release": "1795500000",
    }


def test_what_was_built_for_another_machine_is_not_deployed() -> None:
    with pytest.raises(StackError, match="Architecture=x86_64, and Architecture=arm64 was built"):
        command({"Architecture": "x86_64"}, TARGET, release="1795500000", config_env="default", known=KNOWN)


def test_what_is_given_counts_before_what_is_kept() -> None:
    given = given_parameters("LogLevel=INFO CorsAllowedOrigins='https://a.example, https://b.example'")

    overrides = command(
        {"LogLevel": "DEBUG", "RecoveryDays": "7"},
        TARGET,
        release="1795500000",
        config_env="staging",
        known=KNOWN,
        given=given,
    )[-1]

    assert CfnParameterOverridesType().convert((overrides,), None, None) == {
        **TARGET,
        "LogLevel": "INFO",
        "RecoveryDays": "7",
        "CorsAllowedOrigins": "https://a.example, https://b.example",
        "Release": "1795500000",
    }


@pytest.mark.parametrize("text", ["LogLevel", "=DEBUG", "--guided", "LogLevel = DEBUG", "LogLevel='DEBUG"])
def test_what_is_no_parameter_is_refused_with_what_is_wrong(text: str) -> None:
    with pytest.raises(StackError, match="PARAMETERS must be Name=value"):
        given_parameters(text)


def test_where_nobody_attends_nobody_is_asked() -> None:
    alone = command(
        {"LogLevel": "DEBUG"}, TARGET, release="1795500000", config_env="staging", known=KNOWN, unattended=True
    )

    assert "--no-confirm-changeset" in alone
    with pytest.raises(StackError, match="no parameters for prodution"):
        command({}, TARGET, release="1795500000", config_env="prodution", known=KNOWN, unattended=True)


def test_cloudformation_acts_as_the_role_that_is_named() -> None:
    arguments = command(
        {"LogLevel": "DEBUG"}, TARGET, release="1795500000", config_env="staging", known=KNOWN, role_arn="arn:role"
    )

    assert arguments[arguments.index("--role-arn") + 1] == "arn:role"


@pytest.mark.parametrize(("ci", "attended"), [("true", False), ("1", False), ("false", True), ("", True)])
def test_the_pipeline_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch, ci: str, *, attended: bool) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _, arguments: ran.append(arguments))
    environment = {"CI": ci, "CONFIG_ENV": "dev", "PARAMETERS": "", "ROLE_ARN": ""}
    app = typer.Typer()
    app.command()(main)

    result = CliRunner(env=environment).invoke(app, ["--runtime", "python3.13", "--architecture", "arm64"])

    assert result.exit_code == 0, result.output
    assert ("--no-confirm-changeset" not in ran[0]) is attended


@pytest.mark.parametrize("where", ["kept", "given"])
def test_a_parameter_that_the_template_lacks_is_refused_for_sam_passes_over_it(where: str) -> None:
    parameters: dict[str, dict[str, str]] = {"kept": {"LogLevel": "DEBUG"}, "given": {}}
    parameters[where] |= {"AlarmTopicARN": "arn:aws:sns:eu-central-1:1:a"}

    with pytest.raises(StackError, match="no parameter AlarmTopicARN"):
        command(
            parameters["kept"],
            TARGET,
            release="1795500000",
            config_env="staging",
            known=KNOWN,
            given=parameters["given"],
        )
