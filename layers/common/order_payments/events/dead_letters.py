"""The queue of what cannot be published, for people to look at: what Lambda gives up, and what we cannot read."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from order_payments.runtime.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
# A queue may take 1 MiB, but one that was made before 2025 may still have this limit.
LARGEST_LETTER_BYTES = 256 * 1024

CONNECT_TIMEOUT_SECONDS = 1.0
READ_TIMEOUT_SECONDS = 3.0
SDK_TRIES = 2
LONGEST_KEEP_SECONDS = SDK_TRIES * (CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS) + 1.0
"""What keeping one may take where SQS does not answer, botocore's pause included."""


def sqs_client() -> "SQSClient":
    """A client that gives up in time for the rest of a batch to be reported."""
    return boto3.client(
        "sqs",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": SDK_TRIES},
        ),
    )


class DeadLetters:
    """The queue, by its address. Its client is made when it is wanted, which is next to never."""

    def __init__(self, url: str, client: "SQSClient | None" = None) -> None:
        self._url = url
        self._client = client

    def keep(self, record: Mapping[str, Any], **whereabouts: Any) -> bool:
        """Keep a record of the stream that cannot be published. Return whether it is kept.

        If the record does not fit into a message, the message has only the whereabouts: the table has the order.
        """
        letter = json.dumps({**whereabouts, "record": record}, default=str)
        if len(letter.encode()) > LARGEST_LETTER_BYTES:
            letter = json.dumps(whereabouts)
        try:
            if self._client is None:
                self._client = sqs_client()
            self._client.send_message(QueueUrl=self._url, MessageBody=letter)
        except (ClientError, BotoCoreError):
            logger.exception("the dead letters took nothing", **whereabouts)
            return False
        return True
