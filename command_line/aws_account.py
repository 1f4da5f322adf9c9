"""The user's own AWS account, as the user's AWS settings name it."""

from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from command_line.errors import CommandError


class AwsAccount:
    """Makes clients with the user's AWS settings. Raises `CommandError` if the settings cannot be used."""

    def __init__(self, *, profile: str | None = None, region: str | None = None) -> None:
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except (BotoCoreError, ValueError) as error:
            raise _unusable(error) from error

    def check(self) -> None:
        """Make a client, of whichever region."""
        self.client("sts", region_name=self._session.region_name or "us-east-1").close()

    def client(self, service: str, **options: Any) -> Any:
        """Return a client of a service. The caller closes it."""
        try:
            return self._session.client(service, **options)  # type: ignore[call-overload]  # any of them, by name
        # botocore converts some settings without a check of its own.
        except (BotoCoreError, ValueError) as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> CommandError:
    return CommandError(
        f"The AWS settings cannot be used: {str(error).rstrip('.')}. Correct the AWS_… environment variables,"
        " ~/.aws/config or ~/.aws/credentials."
    )
