"""Access to a deployed stack: the running local one, or one in AWS."""

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
from operations import order_index
from operations.user_pool import UserPool

_LAMBDA_ALIAS = "live"  # AutoPublishAlias in `template.yaml`
_POLL_SECONDS = 1.0
_REPAIR_CALL_TIMEOUT_SECONDS = 620  # the repair function may run for 600


class DeployedStack:
    def __init__(self, stack_name: str, client: Callable[[str], Any]) -> None:
        self._stack_name = stack_name
        self._client = client

    def _resource(self, logical_id: str) -> str:
        detail = self._client("cloudformation").describe_stack_resource(
            StackName=self._stack_name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        return str(detail["PhysicalResourceId"])

    def user_pool(self) -> UserPool:
        """Return the stack's user pool. Raises `CommandError` if the stack has none."""
        try:
            ids = self._resource("UserPool"), self._resource("UserPoolClient")
        except ClientError as error:
            raise CommandError(
                f"{self._stack_name} has no user pool: {error.response['Error']['Message']}. Get tokens from your own "
                "identity provider; for the local stack, use ./shop token."
            ) from error
        return UserPool(self._client("cognito-idp"), *ids)

    def audit(self, audit_input: dict[str, Any]) -> dict[str, Any]:
        client = self._client("stepfunctions")
        execution = client.start_execution(
            stateMachineArn=self._resource("AuditStateMachine"), input=json.dumps(audit_input)
        )["executionArn"]
        while (now := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(_POLL_SECONDS)
        if now["status"] != "SUCCEEDED":
            raise CommandError(
                f"The audit ended as {now['status']}. See the log of AuditPaymentsFunction for the cause."
            )
        report: dict[str, Any] = json.loads(now["output"])
        return report

    def repair(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Invoke the repair function to plan or apply steps. Return the steps."""
        response = self._client("lambda").invoke(
            FunctionName=self._resource("RepairPaymentsFunction"), Qualifier=_LAMBDA_ALIAS, Payload=json.dumps(request)
        )
        content = json.load(response["Payload"])
        if "FunctionError" in response:
            raise CommandError(f"The repair failed: {content.get('errorMessage', content)}")
        steps: list[dict[str, Any]] = content["steps"]
        return steps

    def index_orders(self, *, per_second: int, on_progress: Callable[[int], None]) -> int:
        """Add orders of earlier releases to the index `by-placed`. Return their number."""
        return order_index.index_orders(
            self._client("dynamodb"), self._resource("OrdersTable"), per_second=per_second, on_progress=on_progress
        )


@contextmanager
def deployed_stack(stack_name: str | None, region: str | None, profile: str | None) -> Iterator[DeployedStack]:
    """Yield the running stack, or the named one in AWS. Raises `CommandError` if it cannot be reached."""
    with ExitStack() as exit_stack:
        if stack_name is None:
            description = require_running_stack()
            stack_name = description["stackName"]

            def open_client(service: str) -> Any:
                return make_client(description["awsEndpointUrl"], service)
        else:
            exit_stack.enter_context(users_aws_settings())
            account = AwsAccount(profile=profile, region=region)

            # A repair is one long call. A retry would run it twice at the same time.
            no_retries = Config(read_timeout=_REPAIR_CALL_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})

            def open_client(service: str) -> Any:
                return account.client(service, config=no_retries if service == "lambda" else None)

        @cache
        def client(service: str) -> Any:
            return exit_stack.enter_context(closing(open_client(service)))

        try:
            yield DeployedStack(stack_name, client)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The call to AWS failed: {error}") from error
