"""The dead-letter queue of the event publisher, in Amazon SQS."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from order_payments.runtime.aws_clients import CallLimits, aws_client
from order_payments.runtime.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
# The quota is 1 MiB, but a queue that was created before 2025 may still have this limit.
MAXIMUM_MESSAGE_BYTES = 256 * 1024

# Short, so that the result of the batch is still reported in time.
SQS_LIMITS = CallLimits(connect_timeout_seconds=1.0, read_timeout_seconds=3.0, max_attempts=2)
SQS_CALL_SECONDS = SQS_LIMITS.longest_call_seconds


def sqs_client() -> "SQSClient":
    """Return a client whose calls end within `SQS_CALL_SECONDS`."""
    client: SQSClient = aws_client("sqs", SQS_LIMITS)
    return client


class DeadLetterQueue:
    """The queue with the URL `url`. Its client is created on first use, which is rare."""

    def __init__(self, url: str, client: "SQSClient | None" = None) -> None:
        self._url = url
        self._client = client

    def send(self, record: Mapping[str, Any], **position: Any) -> bool:
        """Send a stream record that cannot be published to the queue. Return whether SQS accepted it.

        If the record does not fit into a message, the message has only its `position`: the table has the order.
        """
        message = json.dumps({**position, "record": record}, default=str)
        if len(message.encode()) > MAXIMUM_MESSAGE_BYTES:
            message = json.dumps(position)
        try:
            if self._client is None:
                self._client = sqs_client()
            self._client.send_message(QueueUrl=self._url, MessageBody=message)
        except (ClientError, BotoCoreError):
            logger.exception("dead letter send failed", **position)
            return False
        return True
