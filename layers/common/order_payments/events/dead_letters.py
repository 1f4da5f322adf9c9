"""The queue of what cannot be published, for people to look at: what Lambda gives up, and what we cannot read."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from order_payments.runtime.aws_clients import CallLimits, aws_client
from order_payments.runtime.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
# A queue may take 1 MiB, but one that was made before 2025 may still have this limit.
MAXIMUM_MESSAGE_BYTES = 256 * 1024

# The last resort for a record, and the rest of the batch must still be reported in time.
SQS_LIMITS = CallLimits(connect_timeout_seconds=1.0, read_timeout_seconds=3.0, max_attempts=2)
SQS_CALL_SECONDS = SQS_LIMITS.longest_call_seconds


def sqs_client() -> "SQSClient":
    """Return a client that gives up within `SQS_CALL_SECONDS`."""
    client: SQSClient = aws_client("sqs", SQS_LIMITS)
    return client


class DeadLetterQueue:
    """The queue, by its address. Its client is made when it is wanted, which is next to never."""

    def __init__(self, url: str, client: "SQSClient | None" = None) -> None:
        self._url = url
        self._client = client

    def send(self, record: Mapping[str, Any], **whereabouts: Any) -> bool:
        """Keep a record of the stream that cannot be published. Return whether it is kept.

        If the record does not fit into a message, the message has only the whereabouts: the table has the order.
        """
        letter = json.dumps({**whereabouts, "record": record}, default=str)
        if len(letter.encode()) > MAXIMUM_MESSAGE_BYTES:
            letter = json.dumps(whereabouts)
        try:
            if self._client is None:
                self._client = sqs_client()
            self._client.send_message(QueueUrl=self._url, MessageBody=letter)
        except (ClientError, BotoCoreError):
            logger.exception("the dead letters took nothing", **whereabouts)
            return False
        return True
