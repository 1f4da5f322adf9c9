"""Clients for the user's AWS account."""

from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from command_line.errors import CommandError


class AwsAccount:
    """Client factory that uses the user's AWS settings. Raises `CommandError` if they are invalid."""

    def __init__(self, *, profile: str | None = None, region: str | None = None) -> None:
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except (BotoCoreError, ValueError) as error:
            raise _invalid_settings(error) from error

    def check(self) -> None:
        """Raise `CommandError` if no client can be created from the settings. Sends no request."""
        self.client("sts", region_name=self._session.region_name or "us-east-1").close()

    def client(self, service: str, **options: Any) -> Any:
        """Return a client for a service. The caller closes it."""
        try:
            return self._session.client(service, **options)  # type: ignore[call-overload]  # the service name is a variable
        # botocore raises ValueError for some invalid settings.
        except (BotoCoreError, ValueError) as error:
            raise _invalid_settings(error) from error


def _invalid_settings(error: Exception) -> CommandError:
    return CommandError(
        f"The AWS settings are invalid: {str(error).rstrip('.')}. Correct the AWS_… environment variables,"
        " ~/.aws/config or ~/.aws/credentials."
    )
