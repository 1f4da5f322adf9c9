"""`sam deploy` to AWS of what was built, as a new release: with the parameters kept for it, or asking for them."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from samtranslator.yaml_helper import yaml_parse

from command_line.aws_account import AwsAccount
from command_line.errors import CommandError

SAMCONFIG = Path("samconfig.toml")
TEMPLATE = Path("template.yaml")

_OF_OTHERS = 0o077


def parameters_of(samconfig: Mapping[str, Any], config_env: str) -> dict[str, str]:
    """The template's parameters that `samconfig.toml` keeps for an environment; none before the first time."""
    kept = samconfig.get(config_env, {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", "")
    return _pairs(shlex.split(kept) if isinstance(kept, str) else [str(pair) for pair in kept])


def given_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a text: `LogLevel=DEBUG JwtIssuer="https://…"`. Raises `CommandError` otherwise."""
    return _parameters(text, "PARAMETERS must be Name=value, with blanks between them and quotes in pairs.")


def parameters_in(file: Path) -> dict[str, str]:
    """Return the parameters of a file, which may be secret. Raises `CommandError`, with no content of the file."""
    try:
        mode = file.stat().st_mode
        if mode & _OF_OTHERS:
            raise CommandError(f"Other users of this machine can use {file}, which may hold secrets: chmod 600 {file}")
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"PARAMETERS_FILE={file} cannot be read: {error}") from error
    return _parameters(text, f"{file} must have lines of Name=value, with quotes around a value that has blanks.")


def refuse_secrets(given: Mapping[str, str], declared: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `CommandError` for a parameter that the template does not let be shown (`NoEcho`)."""
    if secret := [name for name in given if declared.get(name, {}).get("NoEcho")]:
        names = " and ".join(secret)
        raise CommandError(
            f"PARAMETERS must not have {names}: every user of this machine can read a command line. Keep it in Secrets "
            f"Manager and give StripeSecretArn, or write {secret[0]}=… into a file with mode 600 and name that: "
            "PARAMETERS_FILE=…. The value that was on the command line may have been read: replace it."
        )


def _parameters(text: str, rule: str) -> dict[str, str]:
    """Return the parameters of a text. Raises `CommandError` with the rule that the text breaks, and where."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise CommandError(rule) from None
    if wrong := [place for place, word in enumerate(words, 1) if not re.fullmatch(r"[A-Za-z0-9]+=.*", word, re.DOTALL)]:
        # Not the word itself: it may be a secret.
        raise CommandError(f"{rule} Word {wrong[0]} is not.")
    return _pairs(words)


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


def parameters_for(
    kept: Mapping[str, str],
    target: Mapping[str, str],
    *,
    release: str,
    config_env: str,
    known: Collection[str],
    given: Mapping[str, str] | None = None,
    unattended: bool = False,
) -> dict[str, str]:
    """Return the parameters that deploy what was built for `target`, with `given` before what is `kept`.

    Raises `CommandError` if they are for another machine, if one is not among the template's parameters (`known`), or
    if SAM would ask for them and the run is `unattended`.
    """
    parameters = {**kept, **(given or {})}
    for name, value in target.items():
        if parameters.get(name, value) != value:
            raise CommandError(
                f"{SAMCONFIG} deploys with {name}={parameters[name]}, and {name}={value} was built. Make them the same."
            )
    if unknown := parameters.keys() - known:
        raise CommandError(f"The template has no parameter {', '.join(sorted(unknown))}, and SAM would pass over it.")
    if unattended and not kept:
        raise CommandError(f"{SAMCONFIG} has no parameters for {config_env}, and nobody is there to be asked.")
    return {**parameters, **target, "Release": release}


def command(file: Path, *, config_env: str, guided: bool, role_arn: str = "", unattended: bool = False) -> list[str]:
    """The command that deploys with the parameters in `file`: every user of the machine can read a command line."""
    return [
        *("sam", "deploy", "--config-env", config_env),
        *(["--guided"] if guided else []),
        *(["--role-arn", role_arn] if role_arn else []),
        *(["--no-confirm-changeset", "--no-progressbar"] if unattended else []),
        *("--parameter-overrides", f"file://{file}"),
    ]


def release(
    runtime: Annotated[str, typer.Option(help="Lambda runtime of the build.")],
    architecture: Annotated[str, typer.Option(help="Architecture of the build.")],
    config_env: Annotated[str, typer.Option(envvar="CONFIG_ENV", help=f"A table of {SAMCONFIG}.")] = "default",
    parameters: Annotated[str, typer.Option(envvar="PARAMETERS", help="More parameters of the template.")] = "",
    role_arn: Annotated[str, typer.Option(envvar="ROLE_ARN", help="Role that CloudFormation assumes.")] = "",
    unattended: Annotated[bool, typer.Option(envvar="CI", help="Never ask.")] = False,
    parameters_file: Annotated[
        Path | None, typer.Option(envvar="PARAMETERS_FILE", help="A file with more parameters, which may be secret.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the parameters.")] = False,
) -> None:
    """Deploy the build. Each deployment publishes new function versions, so that new parameters take effect."""
    samconfig = tomllib.loads(SAMCONFIG.read_text())
    kept = parameters_of(samconfig, config_env)
    declared = yaml_parse(TEMPLATE.read_text())["Parameters"]
    given = given_parameters(parameters)
    refuse_secrets(given, declared)
    overrides = parameters_for(
        kept,
        {"Runtime": runtime, "Architecture": architecture},
        release=str(int(time.time())),
        config_env=config_env,
        known=declared.keys(),
        given={**given, **(parameters_in(parameters_file) if parameters_file else {})},
        unattended=unattended,
    )
    options = samconfig.get(config_env, {}).get("deploy", {}).get("parameters", {})
    AwsAccount(profile=options.get("profile")).check()
    if check:
        return
    with TemporaryDirectory() as directory:  # which is its owner's alone
        file = Path(directory) / "parameters.yaml"
        file.write_text(json.dumps(overrides))  # JSON is YAML, too
        code = run_on_this_terminal(
            command(file, config_env=config_env, guided=not kept, role_arn=role_arn, unattended=unattended)
        )
    raise typer.Exit(code)


def run_on_this_terminal(arguments: list[str]) -> int:
    """Run a command on this terminal. It alone is stopped by Ctrl-C; this program then goes on to its end."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return subprocess.run(arguments, check=False).returncode
