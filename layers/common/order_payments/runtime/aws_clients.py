"""AWS clients with timeouts of seconds. botocore's defaults take minutes."""

from typing import Any, NamedTuple

import boto3
from botocore.config import Config


class CallLimits(NamedTuple):
    """Timeouts of a client's calls, and the maximum number of attempts."""

    connect_timeout_seconds: float
    read_timeout_seconds: float
    max_attempts: int

    @property
    def longest_call_seconds(self) -> float:
        """Longest duration of a call if the service does not respond.

        botocore pauses for up to 1, 2, 4 … seconds between attempts. The call takes longer if the service has several
        addresses and none responds, or if it sends its response slowly.
        """
        pauses = float(2 ** (self.max_attempts - 1) - 1)
        return self.max_attempts * (self.connect_timeout_seconds + self.read_timeout_seconds) + pauses


def aws_client(service: str, limits: CallLimits, **options: Any) -> Any:
    """Return a client of a service. `options` are passed to botocore's `Config`."""
    return boto3.client(  # type: ignore[call-overload]  # the stubs want a literal name
        service,
        config=Config(
            connect_timeout=limits.connect_timeout_seconds,
            read_timeout=limits.read_timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": limits.max_attempts},
            **options,
        ),
    )
