"""The environment of the functions, typed, and the only module that reads it.

Each function reads the groups it needs once, while it starts. A value that is missing or wrong ends the process
there with one line that names the variable and never its value, so that a misconfigured function serves no request.

Not pydantic's: the authorizer reads its settings from here and must start without it. Named tuples, as they are made
in a quarter of a dataclass's time; a dataclass where there is a secret, which it can leave out of its text.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self


class StripeBackend(StrEnum):
    """Which Stripe the SDK talks to: the one in this process, or a server over HTTP."""

    DUMMY = "dummy"
    API = "api"


class InitializationType(StrEnum):
    """When Lambda starts the function.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """

    ON_DEMAND = "on-demand"
    PROVISIONED_CONCURRENCY = "provisioned-concurrency"
    SNAP_START = "snap-start"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the type, `ON_DEMAND` for an unknown one: a request may wait for the start."""
        kind = environment.get("AWS_LAMBDA_INITIALIZATION_TYPE")
        return cls(kind) if kind in tuple(cls) else cls.ON_DEMAND

    @property
    def is_ahead_of_requests(self) -> bool:
        """Whether no request waits for the start."""
        return self is not InitializationType.ON_DEMAND


class InvalidSettings(Exception):
    """The environment or the secret does not let this function run. Raised while a function starts, it ends the start.

    The message names the variable, and never its value.
    """


class CorsSettings(NamedTuple):
    """The web pages that may read responses, by their origins (`https://shop.example`); `*` for all of them."""

    allowed_origins: frozenset[str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        origins = frozenset(filter(None, map(str.strip, environment.get("CORS_ALLOWED_ORIGINS", "").split(","))))
        if not all(origin == "*" or re.fullmatch(r"https?://[^\s/?#]+", origin) for origin in origins):
            raise InvalidSettings("CORS_ALLOWED_ORIGINS must list origins: scheme and host, without a path")
        return cls(origins)

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may read."""
        return origin in self.allowed_origins or "*" in self.allowed_origins


def function_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the Lambda function, None outside Lambda."""
    return environment.get("AWS_LAMBDA_FUNCTION_NAME")


def metric_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """Return the CloudWatch namespace of the metrics, another for each stack of an account."""
    return environment.get("POWERTOOLS_METRICS_NAMESPACE") or "order-payments"


class TableSettings(NamedTuple):
    """Names of the DynamoDB tables."""

    orders_table: str
    products_table: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(
            orders_table=_required(environment, "ORDERS_TABLE"),
            products_table=_required(environment, "PRODUCTS_TABLE"),
        )


class StockAdjustmentSettings(NamedTuple):
    """Name of the DynamoDB table that records stock adjustments."""

    stock_adjustments_table: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(stock_adjustments_table=_required(environment, "STOCK_ADJUSTMENTS_TABLE"))


class EventSettings(NamedTuple):
    """Name of the EventBridge bus that order events go to, and address of the queue for what cannot be published."""

    event_bus: str
    dead_letters_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(
            event_bus=_required(environment, "ORDER_EVENTS_BUS"),
            dead_letters_url=_required(environment, "ORDER_EVENTS_DEAD_LETTERS"),
        )


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """How to reach Stripe.

    The key is `secret_key`, or in the secret of Secrets Manager that `secret_arn` names; one of them is set.
    `backend` is `dummy` (in process, no network) or `api` (Stripe's test mode, or the server at `api_base`).
    `dummy_table` names the DynamoDB table that holds the dummy's state; without it the state is in memory.
    """

    secret_key: str | None = field(repr=False)
    backend: StripeBackend
    api_base: str | None
    dummy_table: str | None
    secret_arn: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        secret_arn = environment.get("STRIPE_SECRET_ARN") or None
        secret_key = None
        if secret_arn is None:
            secret_key = checked_secret_key(_required(environment, "STRIPE_SECRET_KEY"), "STRIPE_SECRET_KEY")
        elif environment.get("STRIPE_SECRET_KEY"):
            raise InvalidSettings("only one of STRIPE_SECRET_KEY and STRIPE_SECRET_ARN may be set")
        backend = environment.get("STRIPE_BACKEND") or StripeBackend.DUMMY
        if backend not in tuple(StripeBackend):
            raise InvalidSettings(f"STRIPE_BACKEND must be {' or '.join(StripeBackend)}")
        api_base = environment.get("STRIPE_API_BASE") or None
        if api_base is not None and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", api_base):
            raise InvalidSettings("STRIPE_API_BASE must be an address that begins with https:// or http://")
        return cls(
            secret_key=secret_key,
            backend=StripeBackend(backend),
            api_base=api_base,
            dummy_table=environment.get("DUMMY_STRIPE_TABLE") or None,
            secret_arn=secret_arn,
        )


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The secret with which Stripe signs webhook events; None if it is not configured, or in Secrets Manager.

    It may be missing: Stripe gives it only for a deployed address. Payments work without it.
    """

    signing_secret: str | None = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        if environment.get("STRIPE_SECRET_ARN"):
            return cls(signing_secret=None)
        return cls(signing_secret=environment.get("STRIPE_WEBHOOK_SECRET", "").strip() or None)


class ReconcilerSettings(NamedTuple):
    """The reconciler's share of Stripe's rate limit: how many orders it may start to settle in a second.

    An order takes one call of an endpoint, or one call of each of two endpoints if it was paid.
    """

    orders_per_second: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        text = environment.get("RECONCILED_PER_SECOND") or "8"
        if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
            raise InvalidSettings("RECONCILED_PER_SECOND must be a whole number above 0")
        return cls(orders_per_second=float(text))


class JwtSettings(NamedTuple):
    """Whose tokens to trust: `jwks` is the key set itself as JSON, `jwks_url` where to fetch it; one of them is set.

    `audience` is what a token has in `audience_claim`, and `token_use` what it says to be for, where that is asked.
    """

    issuer: str
    audience: str
    roles_claim: str
    jwks: str | None
    jwks_url: str | None
    audience_claim: str = "aud"
    token_use: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        jwks = environment.get("JWT_JWKS") or None
        jwks_url = environment.get("JWT_JWKS_URL") or None
        if (jwks is None) == (jwks_url is None):
            raise InvalidSettings("exactly one of JWT_JWKS and JWT_JWKS_URL must be set")
        return cls(
            issuer=_required(environment, "JWT_ISSUER"),
            audience=_required(environment, "JWT_AUDIENCE"),
            roles_claim=environment.get("JWT_ROLES_CLAIM") or "roles",
            jwks=jwks,
            jwks_url=jwks_url,
            audience_claim=environment.get("JWT_AUDIENCE_CLAIM") or "aud",
            token_use=environment.get("JWT_TOKEN_USE") or None,
        )


def checked_secret_key(value: object, name: str) -> str:
    """The Stripe key, if it is one of test mode. Raises `InvalidSettings`, which says where it is, and not what."""
    if not isinstance(value, str) or not re.fullmatch(r"sk_test_\S+", value):
        raise InvalidSettings(f"{name} must be a test mode key: sk_test_ and what follows it")
    return value


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise InvalidSettings(f"{name} must be set")
    return value
