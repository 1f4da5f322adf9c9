"""A deployment to AWS takes the parameters of last time, and publishes the functions anew."""

import tomllib

import pytest
from samcli.cli.types import CfnParameterOverridesType

from local.errors import StackError
from local.release import command, parameters_of

TARGET = {"Runtime": "python3.13", "Architecture": "arm64"}


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
    first = command({}, TARGET, release="1795500000", config_env="default")
    later = command({"LogLevel": "DEBUG"}, TARGET, release="1795500000", config_env="default")

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

    given = command(kept, TARGET, release="1795500000", config_env="staging")[-1]

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
        command({"Architecture": "x86_64"}, TARGET, release="1795500000", config_env="default")
