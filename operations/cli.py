"""Audit and repair a deployed stack: the local one, or with --stack-name one in AWS."""

from typing import Annotated, Any

import typer
from rich.console import Console

from command_line.environment import use_local_aws_settings
from command_line.errors import CommandError
from command_line.output import make_console
from command_line.program import run_program
from command_line.signals import stop_on_signals
from operations.deployed_stack import deployed_stack
from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now

_SOONEST_LOOK_SECONDS = 30
_INCOMPLETE = 2  # the exit code of an audit that found no mismatch and could not judge everything

PROGRAM = "operate"
"""The script in the project's root; shells complete its commands by this name."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

StackName = Annotated[str | None, typer.Option(help="Stack in AWS instead of the local one.")]
Region = Annotated[str | None, typer.Option(help="AWS region of the stack.")]
Profile = Annotated[str | None, typer.Option(help="AWS profile.")]
Since = Annotated[str | None, typer.Option(help="Compare with Stripe since this RFC 3339 time; default: 48 hours ago.")]
LookAgain = Annotated[
    int, typer.Option(min=0, max=3600, help="Seconds until a product with a stock mismatch is checked again.")
]


@app.command()
def audit(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
) -> None:
    """Compare orders, stock and Stripe's charges. Changes nothing.

    Exits with 1 on a mismatch, and with 2 if there is none but some orders could not be judged.
    """
    console = make_console()
    given = _input(since, look_again, stack_name)
    with deployed_stack(stack_name, region, profile) as stack:
        report = stack.audit(given)
    _tell(report, console)
    if report["mismatches"]:
        console.print("What can be done about it: ./operate repair")
        raise typer.Exit(1)
    if report["unjudged"]:
        raise typer.Exit(_INCOMPLETE)


@app.command()
def repair(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Carry out the plan without asking.")] = False,
) -> None:
    """Audit, print the repair plan, and carry it out if you confirm."""
    console = make_console()
    given = _input(since, look_again, stack_name)
    with deployed_stack(stack_name, region, profile) as stack:
        report = stack.audit(given)
        _tell(report, console)
        if not report["mismatches"]:
            if report["unjudged"]:
                raise typer.Exit(_INCOMPLETE)
            return
        steps = stack.repair({"findings": report.get("findings", [])})
        console.print("\nThis would be done:")
        for step in steps:
            console.print(f"  {step['tells']}", markup=False, soft_wrap=True)
        to_do = [step for step in steps if step["action"] != "look"]
        if not to_do:
            raise typer.Exit(1)
        if not yes and not typer.confirm("Do it?"):
            console.print("Nothing was done.")
            raise typer.Exit(1)
        outcomes = stack.repair({"steps": to_do, "apply": True})
        for step in outcomes:
            console.print(f"  {step['tells']}\n    → {step['outcome']}", markup=False, soft_wrap=True)
    console.print("Look again: ./operate audit")
    if len(to_do) < len(steps) or not all(step["outcome"].startswith("done") for step in outcomes):
        raise typer.Exit(1)


def _input(since: str | None, look_again: int, stack_name: str | None) -> dict[str, Any]:
    if since is not None:
        try:
            from_rfc3339(since)
        except ValueError:
            raise CommandError(f"--since must be a time like {rfc3339(utc_now())}, and {since!r} is none.") from None
    if stack_name is not None and look_again < _SOONEST_LOOK_SECONDS:
        raise CommandError(
            f"--look-again must be {_SOONEST_LOOK_SECONDS} or more on AWS: its indexes follow the tables with a delay."
        )
    return {"lookAgainAfterSeconds": look_again} | ({"since": since} if since else {})


def _tell(report: dict[str, Any], console: Console) -> None:
    looked_at = ", ".join(f"{report[name]} {name}" for name in ("products", "orders", "charges"))
    console.print(f"Looked at {looked_at}. Mismatches: {report['mismatches']}.")
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
            f"The audit is incomplete: {report['unjudged']} could not be judged, because they changed all the time or"
            " Stripe did not answer. Run it again when fewer buyers pay.",
            style="yellow",
            soft_wrap=True,
        )


def main() -> None:
    stop_on_signals()
    use_local_aws_settings()
    run_program(app, PROGRAM)
