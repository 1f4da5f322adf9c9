"""`./shop audit` and `./shop repair`: on the running stack, or with --stack-name on one in AWS."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Annotated, Any

import typer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local.aws_account import AwsAccount
from local.console import make_console
from local.emulator import client_at
from local.environment import users_aws_settings
from local.errors import StackError
from local.shop import describe_running_stack
from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now

_ALIAS = "live"  # as `template.yaml` has it (AutoPublishAlias)
_POLL_SECONDS = 1.0
_SOONEST_LOOK_SECONDS = 30
_INCOMPLETE = 2  # the exit code of an audit that found no mismatch and could not judge everything
_LONGEST_CALL_SECONDS = 620  # the repairing function may run for 600

StackName = Annotated[str | None, typer.Option(help="A stack in AWS, rather than the running one.")]
Region = Annotated[str | None, typer.Option(help="Its region.")]
Profile = Annotated[str | None, typer.Option(help="The AWS profile to use.")]
Since = Annotated[str | None, typer.Option(help="Since when orders are held against Stripe (RFC 3339); 48 hours.")]
LookAgain = Annotated[
    int, typer.Option(min=0, max=3600, help="Seconds between two looks at a product whose stock does not fit.")
]


class Target:
    """A deployed stack."""

    def __init__(self, stack_name: str, client: Callable[[str], Any]) -> None:
        self._stack_name = stack_name
        self._client = client

    def _resource(self, logical_id: str) -> str:
        detail = self._client("cloudformation").describe_stack_resource(
            StackName=self._stack_name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        return str(detail["PhysicalResourceId"])

    def audit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Run an audit to its end, and return its report."""
        client = self._client("stepfunctions")
        execution = client.start_execution(
            stateMachineArn=self._resource("AuditStateMachine"), input=json.dumps(given)
        )["executionArn"]
        while (now := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(_POLL_SECONDS)
        if now["status"] != "SUCCEEDED":
            raise StackError(f"The audit ended as {now['status']}. The log of AuditPaymentsFunction says why.")
        report: dict[str, Any] = json.loads(now["output"])
        return report

    def repair(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Have the repairing function plan or do something. Returns the steps."""
        answer = self._client("lambda").invoke(
            FunctionName=self._resource("RepairPaymentsFunction"), Qualifier=_ALIAS, Payload=json.dumps(request)
        )
        content = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise StackError(f"The repair failed: {content.get('errorMessage', content)}")
        steps: list[dict[str, Any]] = content["steps"]
        return steps


@contextmanager
def target(stack_name: str | None, region: str | None, profile: str | None) -> Iterator[Target]:
    """The running stack, or the named one. Raises `StackError` where it cannot be reached."""
    with ExitStack() as closing_all:
        if stack_name is None:
            description = describe_running_stack()
            stack_name = description["stackName"]

            def make(service: str) -> Any:
                return client_at(description["awsEndpointUrl"], service)
        else:
            closing_all.enter_context(users_aws_settings())
            account = AwsAccount(profile=profile, region=region)

            # A repair is one call and takes its time; whoever sends it again has it done twice at once.
            once = Config(read_timeout=_LONGEST_CALL_SECONDS, retries={"total_max_attempts": 1})

            def make(service: str) -> Any:
                return account.client(service, once if service == "lambda" else None)

        clients: dict[str, Any] = {}

        def client(service: str) -> Any:
            if service not in clients:
                clients[service] = closing_all.enter_context(closing(make(service)))
            return clients[service]

        try:
            yield Target(stack_name, client)
        except (BotoCoreError, ClientError) as error:
            raise StackError(f"AWS did not do as asked: {error}") from error


def audit(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
) -> None:
    """Check whether orders, stock and Stripe's charges fit together. Changes nothing.

    Exits with 1 if they do not, and with 2 if no mismatch was found but not everything could be judged.
    """
    console = make_console()
    given = _input(since, look_again, stack_name)
    with target(stack_name, region, profile) as stack:
        report = stack.audit(given)
    _tell(report, console)
    if report["mismatches"]:
        console.print("What can be done about it: ./shop repair")
        raise typer.Exit(1)
    if report["unjudged"]:
        raise typer.Exit(_INCOMPLETE)


def repair(
    stack_name: StackName = None,
    region: Region = None,
    profile: Profile = None,
    since: Since = None,
    look_again: LookAgain = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Audit, say what would be done about what is found, and do it if you say so."""
    console = make_console()
    given = _input(since, look_again, stack_name)
    with target(stack_name, region, profile) as stack:
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
    console.print("Look again: ./shop audit")
    if len(to_do) < len(steps) or not all(step["outcome"].startswith("done") for step in outcomes):
        raise typer.Exit(1)


def _input(since: str | None, look_again: int, stack_name: str | None) -> dict[str, Any]:
    if since is not None:
        try:
            from_rfc3339(since)
        except ValueError:
            raise StackError(f"--since must be a time like {rfc3339(utc_now())}, and {since!r} is none.") from None
    if stack_name is not None and look_again < _SOONEST_LOOK_SECONDS:
        raise StackError(
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
