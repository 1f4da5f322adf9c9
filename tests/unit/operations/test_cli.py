"""`./operate audit` and `./operate repair`: invalid options, retries and exit codes."""

import pytest
from typer.testing import CliRunner

from command_line import environment
from command_line.environment import AWS_SETTINGS
from command_line.errors import CommandError
from operations import cli
from operations.deployed_stack import DeployedStack, deployed_stack


@pytest.mark.parametrize("command", ["audit", "repair"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "--since must be a time like"),
        (["--stack-name", "shop", "--look-again", "0"], "--look-again must be 30 or more on AWS"),
    ],
    ids=["no time", "too soon"],
)
def test_invalid_option_is_refused(command: str, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, [command, *arguments])

    assert isinstance(result.exception, CommandError)
    assert message in str(result.exception)


def test_repair_is_sent_once_and_read_requests_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    # Private, because a process sets it only once, from its initial environment.
    monkeypatch.setattr(environment, "_users_aws_settings", AWS_SETTINGS)
    attempts = {}

    with deployed_stack("shop", "eu-central-1", None) as stack:
        # Private, because the public calls would reach AWS.
        for service in ("lambda", "stepfunctions", "cloudformation"):
            attempts[service] = (stack._client(service).meta.config.retries or {}).get("total_max_attempts")

    assert attempts["lambda"] == 1
    assert 1 not in (attempts["stepfunctions"], attempts["cloudformation"])


REPORT = {"products": 3, "orders": 10, "charges": 10, "mismatches": 0, "unjudged": 0, "findings": []}


@pytest.mark.parametrize("command", ["audit", "repair"])
@pytest.mark.parametrize(("unjudged", "code"), [(0, 0), (10, 2)], ids=["complete", "incomplete"])
def test_exit_code_of_an_incomplete_audit_is_2(
    monkeypatch: pytest.MonkeyPatch, command: str, unjudged: int, code: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(DeployedStack, "audit", lambda *_: {**REPORT, "unjudged": unjudged})

    result = CliRunner().invoke(cli.app, [command, "--stack-name", "shop", "--region", "eu-central-1"])

    assert result.exit_code == code
    assert ("incomplete: 10 could not be judged" in result.output) == bool(unjudged)


def test_mismatch_exits_with_1_even_if_the_audit_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(DeployedStack, "audit", lambda *_: {**REPORT, "mismatches": 1, "unjudged": 10})

    result = CliRunner().invoke(cli.app, ["audit", "--stack-name", "shop", "--region", "eu-central-1"])

    assert result.exit_code == 1
