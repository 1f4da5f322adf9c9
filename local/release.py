"""`sam deploy` to AWS of what was built, as a new release: with the parameters of last time, or asking for them."""

import os
import shlex
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from local.errors import StackError

SAMCONFIG = Path("samconfig.toml")


def parameters_of(samconfig: Mapping[str, Any], config_env: str) -> dict[str, str]:
    """The template's parameters that `sam deploy --guided` has kept for an environment; none before the first time."""
    kept = samconfig.get(config_env, {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", "")
    pairs = shlex.split(kept) if isinstance(kept, str) else [str(pair) for pair in kept]
    return dict(pair.partition("=")[::2] for pair in pairs)


def command(kept: Mapping[str, str], target: Mapping[str, str], *, release: str, config_env: str) -> list[str]:
    """The command that deploys what was built for `target`. Raises `StackError` where `kept` is for another machine."""
    for name, value in target.items():
        if kept.get(name, value) != value:
            raise StackError(
                f"{SAMCONFIG} deploys with {name}={kept[name]}, and {name}={value} was built. Make them the same."
            )
    given = {**kept, **target, "Release": release}
    overrides = [f"{name}={_quoted(value)}" for name, value in given.items()]
    guided = [] if kept else ["--guided"]
    return ["sam", "deploy", "--config-env", config_env, *guided, "--parameter-overrides", " ".join(overrides)]


def _quoted(value: str) -> str:
    """As SAM reads it: in double quotes, of which JSON is full, and with nothing else escaped."""
    return '"' + value.replace('"', r"\"") + '"'


def main(
    runtime: Annotated[str, typer.Option(help="What was built for: Lambda's name of the Python.")],
    architecture: Annotated[str, typer.Option(help="What was built for: Lambda's name of the processor.")],
    config_env: Annotated[str, typer.Option(envvar="CONFIG_ENV", help=f"A table of {SAMCONFIG}.")] = "default",
) -> None:
    """Deploy what was built. Every deployment publishes the functions anew, so that it takes up new parameters."""
    kept = parameters_of(tomllib.loads(SAMCONFIG.read_text()), config_env)
    target = {"Runtime": runtime, "Architecture": architecture}
    try:
        arguments = command(kept, target, release=str(int(time.time())), config_env=config_env)
    except StackError as error:
        sys.stderr.write(f"\n{error}\n")
        raise typer.Exit(1) from None
    os.execvp(arguments[0], arguments)  # noqa: S606 - the last thing that is done here


if __name__ == "__main__":
    typer.run(main)
