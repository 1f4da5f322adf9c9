"""`sam deploy` to AWS of what was built, as a new release: with the parameters kept for it, or asking for them."""

import os
import re
import shlex
import sys
import time
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from samtranslator.yaml_helper import yaml_parse

from local.errors import StackError

SAMCONFIG = Path("samconfig.toml")
TEMPLATE = Path("template.yaml")


def parameters_of(samconfig: Mapping[str, Any], config_env: str) -> dict[str, str]:
    """The template's parameters that `samconfig.toml` keeps for an environment; none before the first time."""
    kept = samconfig.get(config_env, {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", "")
    return _pairs(shlex.split(kept) if isinstance(kept, str) else [str(pair) for pair in kept])


def given_parameters(text: str) -> dict[str, str]:
    """Parameters as people write them: `LogLevel=DEBUG JwtIssuer="https://…"`. Raises `StackError` at anything else."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise StackError(f"PARAMETERS must be Name=value, with blanks between them: {error}.") from None
    if wrong := [word for word in words if not re.fullmatch(r"[A-Za-z0-9]+=.*", word, re.DOTALL)]:
        raise StackError(f"PARAMETERS must be Name=value, with blanks between them. This is none: {wrong[0]}")
    return _pairs(words)


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


def command(
    kept: Mapping[str, str],
    target: Mapping[str, str],
    *,
    release: str,
    config_env: str,
    known: Collection[str],
    given: Mapping[str, str] | None = None,
    role_arn: str | None = None,
    unattended: bool = False,
) -> list[str]:
    """The command that deploys what was built for `target`, with `given` before what is `kept`.

    Raises `StackError` where they are for another machine, where the template, which has the parameters `known`, has no
    such, or where somebody would be asked and nobody attends.
    """
    parameters = {**kept, **(given or {})}
    for name, value in target.items():
        if parameters.get(name, value) != value:
            raise StackError(
                f"{SAMCONFIG} deploys with {name}={parameters[name]}, and {name}={value} was built. Make them the same."
            )
    if unknown := parameters.keys() - known:
        raise StackError(f"The template has no parameter {', '.join(sorted(unknown))}, and SAM would pass over it.")
    if unattended and not kept:
        raise StackError(f"{SAMCONFIG} has no parameters for {config_env}, and nobody is there to be asked.")
    overrides = [f"{name}={_quoted(value)}" for name, value in {**parameters, **target, "Release": release}.items()]
    return [
        *("sam", "deploy", "--config-env", config_env),
        *([] if kept else ["--guided"]),
        *(["--role-arn", role_arn] if role_arn else []),
        *(["--no-confirm-changeset", "--no-progressbar"] if unattended else []),
        *("--parameter-overrides", " ".join(overrides)),
    ]


def _quoted(value: str) -> str:
    """As SAM reads it: in double quotes, of which JSON is full, and with nothing else escaped."""
    return '"' + value.replace('"', r"\"") + '"'


def main(
    runtime: Annotated[str, typer.Option(help="What was built for: Lambda's name of the Python.")],
    architecture: Annotated[str, typer.Option(help="What was built for: Lambda's name of the processor.")],
    config_env: Annotated[str, typer.Option(envvar="CONFIG_ENV", help=f"A table of {SAMCONFIG}.")] = "default",
    parameters: Annotated[str, typer.Option(envvar="PARAMETERS", help="More parameters of the template.")] = "",
    role_arn: Annotated[str, typer.Option(envvar="ROLE_ARN", help="What CloudFormation acts as.")] = "",
    unattended: Annotated[bool, typer.Option(envvar="CI", help="Ask nothing.")] = False,
) -> None:
    """Deploy what was built. Every deployment publishes the functions anew, so that it takes up new parameters."""
    kept = parameters_of(tomllib.loads(SAMCONFIG.read_text()), config_env)
    target = {"Runtime": runtime, "Architecture": architecture}
    try:
        arguments = command(
            kept,
            target,
            release=str(int(time.time())),
            config_env=config_env,
            known=yaml_parse(TEMPLATE.read_text())["Parameters"].keys(),
            given=given_parameters(parameters),
            role_arn=role_arn or None,
            unattended=unattended,
        )
    except StackError as error:
        sys.stderr.write(f"\n{error}\n")
        raise typer.Exit(1) from None
    os.execvp(arguments[0], arguments)  # noqa: S606 - the last thing that is done here


if __name__ == "__main__":
    typer.run(main)
