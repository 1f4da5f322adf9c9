"""A deployed stack: the running one, or one in AWS."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from command_line.aws_account import AwsAccount
from command_line.environment import users_aws_settings
from command_line.errors import CommandError
from local.emulator.process import make_client
from local.running import require_running_stack

_ALIAS = "live"  # as `template.yaml` has it (AutoPublishAlias)
_POLL_SECONDS = 1.0
_LONGEST_CALL_SECONDS = 620  # the repairing function may run for 600


class DeployedStack:
    def __init__(self, stack_name: str, client: Callable[[str], Any]) -> None:
        self._stack_name = stack_name
        self._client = client

    def _resource(self, logical_id: str) -> str:
        detail = self._client("cloudformation").describe_stack_resource(
            StackName=self._stack_name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        return str(detail["PhysicalResourceId"])

    def audit(self, given: dict[str, Any]) -> dict[str, Any]:
        client = self._client("stepfunctions")
        execution = client.start_execution(
            stateMachineArn=self._resource("AuditStateMachine"), input=json.dumps(given)
        )["executionArn"]
        while (now := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(_POLL_SECONDS)
        if now["status"] != "SUCCEEDED":
            raise CommandError(f"The audit ended as {now['status']}. The log of AuditPaymentsFunction says why.")
        report: dict[str, Any] = json.loads(now["output"])
        return report

    def repair(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Have the repairing function plan or do something. Returns the steps."""
        answer = self._client("lambda").invoke(
            FunctionName=self._resource("RepairPaymentsFunction"), Qualifier=_ALIAS, Payload=json.dumps(request)
        )
        content = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise CommandError(f"The repair failed: {content.get('errorMessage', content)}")
        steps: list[dict[str, Any]] = content["steps"]
        return steps


@contextmanager
def deployed_stack(stack_name: str | None, region: str | None, profile: str | None) -> Iterator[DeployedStack]:
    """The running stack, or the named one. Raises `CommandError` where it cannot be reached."""
    with ExitStack() as closing_all:
        if stack_name is None:
            description = require_running_stack()
            stack_name = description["stackName"]

            def make(service: str) -> Any:
                return make_client(description["awsEndpointUrl"], service)
        else:
            closing_all.enter_context(users_aws_settings())
            account = AwsAccount(profile=profile, region=region)

            # A repair is one call and takes its time; whoever sends it again has it done twice at once.
            once = Config(read_timeout=_LONGEST_CALL_SECONDS, retries={"total_max_attempts": 1})

            def make(service: str) -> Any:
                return account.client(service, config=once if service == "lambda" else None)

        @cache
        def client(service: str) -> Any:
            return closing_all.enter_context(closing(make(service)))

        try:
            yield DeployedStack(stack_name, client)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"AWS did not do as asked: {error}") from error
