"""AWS settings: calls to an account use the user's settings, local calls ignore them."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from command_line import environment
from command_line.aws_account import AwsAccount
from command_line.environment import use_local_aws_settings, users_aws_settings, users_environment
from command_line.errors import CommandError
from local.emulator.process import make_client
from operations.deployed_stack import deployed_stack

UNUSABLE = {
    "AWS_PROFILE": "none-such",
    "AWS_DEFAULT_PROFILE": "none-such",
    "AWS_RETRY_MODE": "none-such",
    "AWS_DEFAULTS_MODE": "none-such",
    "AWS_MAX_ATTEMPTS": "many",
    "AWS_CONFIG_FILE": "broken",
    "AWS_SHARED_CREDENTIALS_FILE": "broken",
}


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Simulate a new process with the user's AWS settings."""
    # Private, because a process sets it only once, and each test simulates a new process.
    monkeypatch.setattr(environment, "_users_aws_settings", None)
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("[default\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    account = {"AWS_ACCESS_KEY_ID": "AKIAUSER", "AWS_SECRET_ACCESS_KEY": "users", "AWS_REGION": "eu-central-1"}
    with patch.dict(os.environ, {**kept, **account}, clear=True):
        yield


@pytest.mark.parametrize("name", UNUSABLE)
def test_local_process_ignores_an_unusable_aws_setting(name: str) -> None:
    os.environ[name] = UNUSABLE[name]
    use_local_aws_settings()

    with closing(make_client("http://127.0.0.1:1", "dynamodb")) as client:
        assert client.meta.endpoint_url == "http://127.0.0.1:1"


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_aws_setting_of_an_account_is_reported(name: str) -> None:
    os.environ[name] = UNUSABLE[name]
    use_local_aws_settings()

    with (
        pytest.raises(CommandError, match=r"The AWS settings are invalid: .*(none-such|many|broken)"),
        deployed_stack("shop", "eu-central-1", None) as stack,
    ):
        stack.audit({})


def test_unknown_profile_option_is_reported() -> None:
    with pytest.raises(CommandError, match="none-such"):
        AwsAccount(profile="none-such")


def test_stack_in_aws_is_reached_with_the_users_settings() -> None:
    use_local_aws_settings()

    with deployed_stack("shop", "eu-central-1", None) as stack:
        # Private, because no public call returns the credentials that a client signs with.
        credentials = stack._client("cloudformation")._request_signer._credentials

    assert credentials.access_key == "AKIAUSER"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "local"


def test_users_settings_are_restored_only_within_the_block() -> None:
    os.environ["AWS_PROFILE"] = "users"
    before = dict(os.environ)
    use_local_aws_settings()
    use_local_aws_settings()
    local = dict(os.environ)

    with users_aws_settings():
        inside = dict(os.environ)

    assert "AWS_PROFILE" not in local
    assert (inside, dict(os.environ), users_environment()) == (before, local, before)
