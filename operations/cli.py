"""Operate a deployed stack: the local one, or one in AWS with --stack-name."""

from typing import Annotated, Any

import typer
from rich.console import Console

from command_line.environment import use_local_aws_settings
from command_line.errors import CommandError
from command_line.output import make_console
from command_line.program import run_program
from command_line.signals import stop_on_signals
from operations.deployed_stack import deployed_stack
from order_payments.domain.identity import Role
from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now

_MINIMUM_LOOK_AGAIN_SECONDS = 30
_EXIT_CODE_INCOMPLETE = 2  # no mismatch was found, but not everything could be judged

PROGRAM = "operate"
"""Name of the script in the project's root, used for shell completion."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
CognitoStack = Annotated[str, typer.Option("--stack-name", help="Stack in AWS with IdentityProvider=cognito.")]
StackName = Annotated[str | None, typer.Option(help="Stack in AWS instead of the local one.")]
Region = Annotated[str | None, typer.Option(help="AWS region of the stack.")]
Profile = Annotated[str | None, typer.Option(help="AWS profile.")]
Since = Annotated[
    str | None, typer.Option(help="Compare with Stripe from this RFC 3339 time on. Default: 48 hours ago.")
]
LookAgain = Annotated[
    int, typer.Option(min=0, max=3600, help="Seconds between checks of a product with a possible mismatch.")
]


@app.command()
def audit(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
) -> None:
    """Compare orders, stock and Stripe's charges, without changing them.

    Exits with 1 if there are mismatches, or with 2 if there are none but not everything could be judged.
    """
    console = make_console()
    audit_input = _make_input(since, look_again, stack_name)
    with deployed_stack(stack_name, region, profile) as stack:
        report = stack.audit(audit_input)
    _print_report(report, console)
    if report["mismatches"]:
        console.print("To plan a repair, run ./operate repair")
        raise typer.Exit(1)
    if report["unjudged"]:
        raise typer.Exit(_EXIT_CODE_INCOMPLETE)


@app.command()
def repair(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Apply the plan without confirmation.")] = False,
) -> None:
    """Audit, print a repair plan, and apply it after your confirmation."""
    console = make_console()
    audit_input = _make_input(since, look_again, stack_name)
    with deployed_stack(stack_name, region, profile) as stack:
        report = stack.audit(audit_input)
        _print_report(report, console)
        if not report["mismatches"]:
            if report["unjudged"]:
                raise typer.Exit(_EXIT_CODE_INCOMPLETE)
            return
        steps = stack.repair({"findings": report.get("findings", [])})
        console.print("\nRepair plan:")
        for step in steps:
            console.print(f"  {step['tells']}", markup=False, soft_wrap=True)
        repairs = [step for step in steps if step["action"] != "look"]
        if not repairs:
            raise typer.Exit(1)
        if not yes and not typer.confirm("Apply this plan?"):
            console.print("Nothing was changed.")
            raise typer.Exit(1)
        outcomes = stack.repair({"steps": repairs, "apply": True})
        for step in outcomes:
            console.print(f"  {step['tells']}\n    → {step['outcome']}", markup=False, soft_wrap=True)
    console.print("To check the result, run ./operate audit")
    if len(repairs) < len(steps) or not all(step["outcome"].startswith("done") for step in outcomes):
        raise typer.Exit(1)


@app.command()
def index_orders(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    per_second: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of writes per second.")] = 100,
) -> None:
    """Add the orders of earlier releases to the list of all orders. Run it again to continue after an interruption."""
    console = make_console()

    def show(number: int) -> None:
        console.print(f"{number} orders added", style="dim")

    with deployed_stack(stack_name, region, profile) as stack:
        added = stack.index_orders(per_second=per_second, on_progress=show)
    console.print(f"The list of all orders is complete: {added} orders were missing.")


@app.command("user")
def create_user(
    email: Email,
    role: Annotated[Role, typer.Option(help="The user's role.")],
    stack_name: CognitoStack,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Create a user in a stack's Cognito user pool, with a password that you type."""
    password = typer.prompt("Password of the new user", hide_input=True, confirmation_prompt=True, err=True)
    with deployed_stack(stack_name, region, profile) as stack:
        stack.user_pool().create_user(email, password, role.value)
    typer.echo(f"Created {email} with the role {role.value}.")


@app.command("token")
def print_token(email: Email, stack_name: CognitoStack, region: Region = None, profile: Profile = None) -> None:
    """Print an access token of a user in a stack's Cognito user pool. Asks for the password on standard error."""
    password = typer.prompt("Password", hide_input=True, err=True)
    with deployed_stack(stack_name, region, profile) as stack:
        typer.echo(stack.user_pool().access_token(email, password))


def _make_input(since: str | None, look_again: int, stack_name: str | None) -> dict[str, Any]:
    if since is not None:
        try:
            from_rfc3339(since)
        except ValueError:
            raise CommandError(f"--since must be a time like {rfc3339(utc_now())}, not {since!r}.") from None
    if stack_name is not None and look_again < _MINIMUM_LOOK_AGAIN_SECONDS:
        raise CommandError(
            f"--look-again must be {_MINIMUM_LOOK_AGAIN_SECONDS} or more on AWS: its indexes are eventually consistent."
        )
    return {"lookAgainAfterSeconds": look_again} | ({"since": since} if since else {})


def _print_report(report: dict[str, Any], console: Console) -> None:
    counts = ", ".join(f"{report[name]} {name}" for name in ("products", "orders", "charges"))
    console.print(f"Checked {counts}. Mismatches: {report['mismatches']}.")
    for finding in report.get("findings", []):
        which = finding.get("orderId") or finding.get("productId")
        console.print(
            f"  {which} ({finding['kind']}): {finding['found']}. Expected: {finding['expected']}.",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if report["unjudged"]:
        console.print(
            f"The audit is incomplete: {report['unjudged']} could not be judged, because they kept changing or Stripe"
            " did not respond. Run the audit again when there are fewer payments.",
            style="yellow",
            soft_wrap=True,
        )


def main() -> None:
    stop_on_signals()
    use_local_aws_settings()
    run_program(app, PROGRAM)
