"""Stripe's key and the webhook's signing secret, fetched from AWS Secrets Manager.

Only functions whose settings name a secret import this.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from order_payments.runtime.aws_clients import CallLimits, aws_client
from order_payments.runtime.cached_value import CachedValue
from order_payments.runtime.observability import logger
from order_payments.runtime.settings import InitializationType, InvalidSettings, checked_secret_key

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SECRET_MAX_AGE_SECONDS = 300
"""Age at which the secret is fetched again. Stripe lets an old key work for hours, if its owner wants."""

SECRET_COOL_DOWN_SECONDS = 30
"""Pause after a fetch, so that neither a wrong key nor forged signatures cause many."""

ACCESS_RETRY_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""A snapshot is made seconds after a role is, and IAM takes some to follow. A version that does not start fails the
deployment, and no request waits for this.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""

# Short, so that a payment can go on with the secret that is known.
SECRETS_MANAGER_LIMITS = CallLimits(connect_timeout_seconds=0.5, read_timeout_seconds=1.5, max_attempts=2)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The value of the secret: `{"secretKey": "sk_test_…", "webhookSecret": "whsec_…"}`; the latter may be missing."""

    secret_key: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read the value, None where it is binary. Raises `InvalidSettings`, which quotes nothing of it."""
        try:
            value = json.loads(text or "")
            # An empty one is none: with that every caller could sign.
            secret_key, webhook_secret = value["secretKey"], value.get("webhookSecret") or None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidSettings("the secret of STRIPE_SECRET_ARN must be a JSON object with secretKey") from None
        if webhook_secret is not None and not re.fullmatch(r"whsec_\S+", str(webhook_secret)):
            raise InvalidSettings("webhookSecret in the secret of STRIPE_SECRET_ARN must begin with whsec_")
        return cls(checked_secret_key(secret_key, "secretKey in the secret of STRIPE_SECRET_ARN"), webhook_secret)


class StripeSecrets:
    """The secret as it was fetched last.

    It is fetched while the function starts, so that a function with a wrong secret serves no request; when it is older
    than `SECRET_MAX_AGE_SECONDS`; and when a value of it was rejected. While Secrets Manager does not respond, or has
    an invalid value, the last valid value stays in use. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        fetch: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
        access_retry_pauses: Sequence[float] = (),
    ) -> None:
        """`access_retry_pauses`, in seconds, are between tries of the first fetch while that is not allowed."""
        self._fetch = fetch
        secrets = Secrets.parse(_fetch_with_access_retries(fetch, access_retry_pauses))
        self._cached = CachedValue(secrets, fetch=self._fetch_valid, clock=clock, fetched_at=clock())

    def secret_key(self) -> str:
        """Return the key to call Stripe with."""
        return self._current().secret_key

    def webhook_secret(self) -> str | None:
        """Return the secret that Stripe signs its events with, None if the value has none."""
        return self._current().webhook_secret

    def refresh(self, *, rejected: str) -> bool:
        """Fetch the secret again if it still has the `rejected` value. Return whether it has another one now."""
        if self._has(rejected):
            self._cached.refresh(pause_seconds=SECRET_COOL_DOWN_SECONDS)
        return not self._has(rejected)

    def _has(self, value: str) -> bool:
        secrets = self._cached.value
        return value in (secrets.secret_key, secrets.webhook_secret)

    def _current(self) -> Secrets:
        if not self._cached.is_younger_than(SECRET_MAX_AGE_SECONDS):
            self._cached.refresh(pause_seconds=SECRET_COOL_DOWN_SECONDS)
        return self._cached.value

    def _fetch_valid(self) -> Secrets | None:
        try:
            return Secrets.parse(self._fetch())
        except (BotoCoreError, ClientError) as error:
            logger.warning("the secret could not be fetched anew", error=type(error).__name__)
        except InvalidSettings as error:
            logger.error("the secret was changed to something that cannot be right", error=str(error))
        return None


def stripe_secrets(arn: str) -> StripeSecrets:
    """The secret of this ARN. Raises botocore's errors where it cannot be fetched at all."""
    client = secrets_client()

    def fetch() -> str | None:
        return client.get_secret_value(SecretId=arn).get("SecretString")

    ahead = InitializationType.from_environment() is InitializationType.SNAP_START
    return StripeSecrets(fetch, access_retry_pauses=ACCESS_RETRY_PAUSES_SECONDS if ahead else ())


def _fetch_with_access_retries(fetch: Callable[[], str | None], pauses: Sequence[float]) -> str | None:
    for pause in pauses:
        try:
            return fetch()
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            # No request waits, and nobody tells when IAM has caught up.
            time.sleep(pause)
    return fetch()


def secrets_client() -> "SecretsManagerClient":
    """Return a client of Secrets Manager that gives up within seconds."""
    client: SecretsManagerClient = aws_client("secretsmanager", SECRETS_MANAGER_LIMITS)
    return client
