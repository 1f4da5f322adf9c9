"""AWS on moto, in this process."""

from moto import mock_aws
from moto.core.models import MockAWS


def aws_on_moto() -> MockAWS:
    """Return a context in which boto3 reaches moto, whose services are empty at its start.

    boto3's session stays the same. A new one per test would read DynamoDB's description again, for 0.15 s of CPU time.
    """
    return mock_aws(config={"core": {"reset_boto3_session": False}})
