"""Clients of AWS services that give up in seconds, not in botocore's minutes."""

from typing import Any, NamedTuple

import boto3
from botocore.config import Config


class CallLimits(NamedTuple):
    """How long a client waits for a service, and how often it sends a request."""

    connect_timeout_seconds: float
    read_timeout_seconds: float
    max_attempts: int

    @property
    def longest_call_seconds(self) -> float:
        """Seconds that a call may take if the service does not respond.

        botocore pauses for up to 1, 2, 4 … seconds between tries. The call takes longer if the service has several
        addresses and none responds, or if it sends its response slowly.
        """
        pauses = float(2 ** (self.max_attempts - 1) - 1)
        return self.max_attempts * (self.connect_timeout_seconds + self.read_timeout_seconds) + pauses


def aws_client(service: str, limits: CallLimits, **options: Any) -> Any:
    """Return a client of a service. `options` are further ones of botocore's `Config`."""
    return boto3.client(  # type: ignore[call-overload]  # the stubs want a literal name
        service,
        config=Config(
            connect_timeout=limits.connect_timeout_seconds,
            read_timeout=limits.read_timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": limits.max_attempts},
            **options,
        ),
    )
