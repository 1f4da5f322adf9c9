"""The environments in `samconfig.toml`, with their deployment options and saved template parameters."""

import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

from command_line.errors import CommandError
from command_line.project import PROJECT

FILE = "samconfig.toml"
GUIDED = "default"
"""The environment without saved parameters: SAM asks for them, and saves them here."""


def read_samconfig() -> dict[str, Any]:
    return tomllib.loads((PROJECT / FILE).read_text())


def deploy_options(samconfig: Mapping[str, Any], config_env: str) -> Mapping[str, Any]:
    """Return an environment's options of `sam deploy`. Raises `CommandError` if there is no such environment."""
    known = [name for name, content in samconfig.items() if isinstance(content, dict)]
    if config_env not in known:
        raise CommandError(
            f"{FILE} has no environment {config_env}. Set CONFIG_ENV to one of: {', '.join(known)}. To add an "
            f"environment, copy a section of {FILE}."
        )
    commands = samconfig[config_env]
    return {name: value for command in ("global", "deploy") for name, value in _options(commands, command).items()}


def _options(commands: Mapping[str, Any], command: str) -> Mapping[str, Any]:
    options: Mapping[str, Any] = commands.get(command, {}).get("parameters", {})
    return options


def saved_parameters(samconfig: Mapping[str, Any], config_env: str) -> dict[str, str]:
    """Return the template parameters saved for an environment; empty before its first guided deployment."""
    saved = deploy_options(samconfig, config_env).get("parameter_overrides", "")
    return split_pairs(shlex.split(saved) if isinstance(saved, str) else [str(pair) for pair in saved])


def split_pairs(words: list[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)
