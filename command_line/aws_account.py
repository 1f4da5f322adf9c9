"""Clients for the user's AWS account."""

from contextlib import closing
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from command_line.errors import CommandError


class AwsAccount:
    """Client factory that uses the user's AWS settings. Raises `CommandError` if they are invalid."""

    def __init__(self, *, profile: str | None = None, region: str | None = None) -> None:
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except (BotoCoreError, ValueError) as error:
            raise _invalid_settings(error) from error

    @property
    def region(self) -> str | None:
        region: str | None = self._session.region_name
        return region

    def check(self, *, needs_region: bool = True) -> None:
        """Raise `CommandError` unless a region is set and AWS accepts the credentials."""
        if needs_region and not self.region:
            raise CommandError("No AWS region is set. Set AWS_REGION, for example: export AWS_REGION=eu-central-1")
        once = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        try:
            with closing(self.client("sts", region_name=self.region or "us-east-1", config=once)) as sts:
                sts.get_caller_identity()
        except NoCredentialsError:
            raise CommandError(
                "There are no AWS credentials. Sign in (aws configure, or aws sso login), or set AWS_PROFILE."
            ) from None
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"AWS does not accept the credentials: {error}. Sign in again.") from error

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
