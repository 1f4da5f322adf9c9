"""Stripe's API key and the webhook's signing secret, from AWS Secrets Manager.

Only functions whose settings name a secret import this module.
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
"""Age at which the secret is fetched again. When a key is rolled, Stripe can keep the old one valid for hours."""

SECRET_COOL_DOWN_SECONDS = 30
"""Minimum time between fetches, so that neither a wrong key nor forged signatures cause many."""

ACCESS_RETRY_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Pauses between fetches that IAM denies while a snapshot is made.

The role may be seconds old, and IAM is eventually consistent. Without the retries the deployment would fail.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""

# Short, so that a payment can continue with the cached secret.
SECRETS_MANAGER_LIMITS = CallLimits(connect_timeout_seconds=0.5, read_timeout_seconds=1.5, max_attempts=2)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Value of the secret: `{"secretKey": "sk_test_…", "webhookSecret": "whsec_…"}`, `webhookSecret` being optional."""

    secret_key: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Parse the value; `text` is None for a binary one. Raises `InvalidSettings`, whose text does not quote it."""
        try:
            value = json.loads(text or "")
            # Treat an empty secret as missing: with it, any caller could sign.
            secret_key, webhook_secret = value["secretKey"], value.get("webhookSecret") or None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidSettings("the secret of STRIPE_SECRET_ARN must be a JSON object with secretKey") from None
        if webhook_secret is not None and not re.fullmatch(r"whsec_\S+", str(webhook_secret)):
            raise InvalidSettings("webhookSecret in the secret of STRIPE_SECRET_ARN must begin with whsec_")
        return cls(checked_secret_key(secret_key, "secretKey in the secret of STRIPE_SECRET_ARN"), webhook_secret)


class StripeSecrets:
    """The cached secret.

    It is fetched when the function starts, so that a function with an invalid secret serves no request. It is fetched
    again when it is older than `SECRET_MAX_AGE_SECONDS`, and when one of its values was rejected. While Secrets Manager
    does not respond or has an invalid value, the last valid value stays in use. `clock` returns Unix seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
        access_retry_pauses: Sequence[float] = (),
    ) -> None:
        """`access_retry_pauses` are the seconds between tries of the first fetch while IAM denies access."""
        self._fetch = fetch
        secrets = Secrets.parse(_fetch_with_access_retries(fetch, access_retry_pauses))
        self._cached = CachedValue(secrets, fetch=self._fetch_valid, clock=clock, fetched_at=clock())

    def secret_key(self) -> str:
        """Return Stripe's API key."""
        return self._current().secret_key

    def webhook_secret(self) -> str | None:
        """Return the webhook's signing secret; None if there is none."""
        return self._current().webhook_secret

    def refresh(self, *, rejected: str) -> bool:
        """Fetch the secret again if it still has the `rejected` value. Return whether the value has changed."""
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
            logger.warning("stripe secret fetch failed", error=type(error).__name__)
        except InvalidSettings as error:
            logger.error("stripe secret invalid", error=str(error))
        return None


def stripe_secrets(arn: str) -> StripeSecrets:
    """Return the secret of an ARN. Raises botocore's error if the first fetch fails."""
    client = secrets_client()

    def fetch() -> str | None:
        return client.get_secret_value(SecretId=arn).get("SecretString")

    is_snapshot = InitializationType.from_environment() is InitializationType.SNAP_START
    return StripeSecrets(fetch, access_retry_pauses=ACCESS_RETRY_PAUSES_SECONDS if is_snapshot else ())


def _fetch_with_access_retries(fetch: Callable[[], str | None], pauses: Sequence[float]) -> str | None:
    for pause in pauses:
        try:
            return fetch()
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            # Sleeping delays no request here. IAM does not report when it has caught up.
            time.sleep(pause)
    return fetch()


def secrets_client() -> "SecretsManagerClient":
    """Return a client of Secrets Manager that times out within seconds."""
    client: SecretsManagerClient = aws_client("secretsmanager", SECRETS_MANAGER_LIMITS)
    return client
