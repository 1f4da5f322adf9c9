"""Deployment of the build to AWS as a new release, with `sam deploy` and the parameters saved in samconfig.toml."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from command_line.aws_account import AwsAccount
from command_line.errors import CommandError
from command_line.output import make_console
from delivery.rendering import Rendering, template
from delivery.samconfig import FILE, GUIDED, deploy_options, read_samconfig, saved_parameters, split_pairs

_GROUP_AND_OTHER_PERMISSIONS = 0o077


def parse_parameters(text: str) -> dict[str, str]:
    """Parse parameters such as `LogLevel=DEBUG JwtIssuer="https://…"`. Raises `CommandError` if malformed."""
    return _parse(text, "PARAMETERS must be Name=value pairs separated by blanks, with matching quotes.")


def read_parameters_file(file: Path) -> dict[str, str]:
    """Read parameters, possibly secret, from a file. A `CommandError` shows none of the file's content."""
    try:
        mode = file.stat().st_mode
        if mode & _GROUP_AND_OTHER_PERMISSIONS:
            raise CommandError(f"Other users can access {file}, which may hold secrets. Run: chmod 600 {file}")
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"PARAMETERS_FILE={file} cannot be read: {error}") from error
    return _parse(text, f"{file} must have lines of Name=value, with quotes around values that contain blanks.")


def refuse_secrets(given: Mapping[str, str], declared: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `CommandError` if a parameter is secret (`NoEcho`)."""
    if secret := [name for name in given if declared.get(name, {}).get("NoEcho")]:
        names = " and ".join(secret)
        raise CommandError(
            f"PARAMETERS must not contain {names}: every user of this machine can read it there. Store the secret "
            f"in Secrets Manager and set StripeSecretArn, or write {secret[0]}=… to a file with mode 600 and set "
            "PARAMETERS_FILE=…. Replace the value: it may have been read."
        )


def _parse(text: str, rule: str) -> dict[str, str]:
    """Parse parameters. Raises `CommandError` with the rule and the position of the word that breaks it."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise CommandError(rule) from None
    if wrong := [place for place, word in enumerate(words, 1) if not re.fullmatch(r"[A-Za-z0-9]+=.*", word, re.DOTALL)]:
        # Do not show the word, which may be a secret.
        raise CommandError(f"{rule} Word {wrong[0]} is not a Name=value pair.")
    return split_pairs(words)


def refuse_invalid(parameters: Mapping[str, str]) -> None:
    """Raise `CommandError` if the template refuses a parameter. CloudFormation would refuse it only after the build."""
    rendering = Rendering(parameters)
    refused = [f"The template does not allow this value of {name}." for name in rendering.refused_values()]
    if faults := rendering.broken_rules() + refused:
        raise CommandError(" ".join([*faults, f"Set parameters in PARAMETERS='Name=value …' or in {FILE}."]))


def merge_parameters(
    saved: Mapping[str, str],
    target: Mapping[str, str],
    *,
    release: str,
    config_env: str,
    known: Collection[str],
    given: Mapping[str, str] | None = None,
    unattended: bool = False,
) -> dict[str, str]:
    """Return the parameters to deploy a build for `target`. `given` parameters override `saved` ones.

    Raises `CommandError` if a parameter contradicts `target` or is not a template parameter (`known`), or if an
    `unattended` run has no saved parameters, so that SAM would ask for them.
    """
    parameters = {**saved, **(given or {})}
    for name, value in target.items():
        if parameters.get(name, value) != value:
            raise CommandError(
                f"The parameters have {name}={parameters[name]}, but the build has {name}={value}. Make them the same."
            )
    if unknown := parameters.keys() - known:
        raise CommandError(f"The template has no parameter {', '.join(sorted(unknown))}. Correct the name.")
    if unattended and not saved:
        raise CommandError(f"{FILE} has no parameters for {config_env}. Add them: this run cannot ask for input.")
    return {**parameters, **target, "Release": release}


def deploy_command(
    file: Path, *, config_env: str, guided: bool, role_arn: str = "", unattended: bool = False
) -> list[str]:
    """Return the deploy command. It names a parameters file, because every user can read a command line."""
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
    config_env: Annotated[str, typer.Option(envvar="CONFIG_ENV", help=f"Environment in {FILE}.")] = GUIDED,
    parameters: Annotated[
        str, typer.Option(envvar="PARAMETERS", help="More template parameters: 'Name=value …'.")
    ] = "",
    role_arn: Annotated[str, typer.Option(envvar="ROLE_ARN", help="Role that CloudFormation assumes.")] = "",
    unattended: Annotated[bool, typer.Option(envvar="CI", help="Never ask for input.")] = False,
    parameters_file: Annotated[
        Path | None, typer.Option(envvar="PARAMETERS_FILE", help="File with more parameters, possibly secret.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the parameters.")] = False,
) -> None:
    """Deploy the build. Each deployment publishes new function versions, so that new parameters take effect."""
    samconfig = read_samconfig()
    options = deploy_options(samconfig, config_env)
    saved = saved_parameters(samconfig, config_env)
    declared = template()["Parameters"]
    given = parse_parameters(parameters)
    refuse_secrets(given, declared)
    overrides = merge_parameters(
        saved,
        {"Runtime": runtime, "Architecture": architecture},
        release=str(int(time.time())),
        config_env=config_env,
        known=declared.keys(),
        given={**given, **(read_parameters_file(parameters_file) if parameters_file else {})},
        unattended=unattended,
    )
    if saved:
        refuse_invalid(overrides)
    AwsAccount(profile=options.get("profile"), region=options.get("region")).check(needs_region=bool(saved))
    if check:
        return
    with TemporaryDirectory() as directory:  # only its owner can read it
        file = Path(directory) / "parameters.yaml"
        file.write_text(json.dumps(overrides))  # JSON is valid YAML
        code = run_in_terminal(
            deploy_command(file, config_env=config_env, guided=not saved, role_arn=role_arn, unattended=unattended)
        )
    if code == 0 and not unattended:
        print_next_steps(deploy_options(read_samconfig(), config_env))
    raise typer.Exit(code)


def print_next_steps(options: Mapping[str, Any]) -> None:
    """Print how to use and delete the stack that was deployed with these options."""
    stack_name = options["stack_name"]
    account = AwsAccount(profile=options.get("profile"), region=options.get("region"))
    with closing(account.client("cloudformation")) as client:
        (stack,) = client.describe_stacks(StackName=stack_name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    where = f"--stack-name {stack_name} --region {account.region}"
    lines = ["", f"The API of {stack_name} is at {outputs['ApiUrl']}"]
    bearer = "TOKEN-OF-YOUR-PROVIDER"
    if "UserPoolId" in outputs:
        bearer = f"$(./operate token ada@example.com {where})"
        lines.append(f"Create a user:   ./operate user ada@example.com --role admin {where}")
    lines += [
        f'Send a request:  curl -H "Authorization: Bearer {bearer}" {outputs["ApiUrl"]}/products',
        f"Delete it:       sam delete {where}",
        "No real money moves: the service accepts test keys of Stripe only. See docs/deploy.md.",
    ]
    make_console().print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def run_in_terminal(arguments: list[str]) -> int:
    """Run a command in this terminal and return its exit code. Ctrl-C stops the command, not this program."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return subprocess.run(arguments, check=False).returncode
