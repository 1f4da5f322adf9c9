"""Typed settings from the environment variables. No other module reads them.

Each function reads the groups it needs once, while it starts. A missing or invalid value ends the start with one line
that names the variable and never its value, so that a misconfigured function serves no request.

pydantic is not used, because the authorizer reads its settings here and must start without it. The classes are named
tuples, which take a quarter of a dataclass's time to create, or dataclasses if `repr` must leave out a secret.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Self

MAXIMUM_ORDER_VALID_HOURS = 8760
"""Longest time in which an order can be paid: a year. `OrderValidHours` in `template.yaml` has the same maximum."""


class StripeBackend(StrEnum):
    """Backend of the Stripe SDK: the dummy in this process, or a server over HTTP."""

    DUMMY = "dummy"
    API = "api"


class InitializationType(StrEnum):
    """Lambda's initialization type of the function.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """

    ON_DEMAND = "on-demand"
    PROVISIONED_CONCURRENCY = "provisioned-concurrency"
    SNAP_START = "snap-start"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the type. An unknown type becomes `ON_DEMAND`, because a request may be waiting for the start."""
        kind = environment.get("AWS_LAMBDA_INITIALIZATION_TYPE")
        return cls(kind) if kind in tuple(cls) else cls.ON_DEMAND

    @property
    def is_ahead_of_requests(self) -> bool:
        """True if Lambda starts the function before a request arrives."""
        return self is not InitializationType.ON_DEMAND


class InvalidSettings(Exception):
    """The environment or the secret is invalid. Raised while a function starts, it ends the start.

    The message names the variable and never its value.
    """


class CorsSettings(NamedTuple):
    """Origins of the web pages that may read responses (`https://shop.example`), or `*` for all."""

    allowed_origins: frozenset[str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        origins = frozenset(filter(None, map(str.strip, environment.get("CORS_ALLOWED_ORIGINS", "").split(","))))
        if not all(origin == "*" or re.fullmatch(r"https?://[^\s/?#]+", origin) for origin in origins):
            raise InvalidSettings("CORS_ALLOWED_ORIGINS must list origins: scheme and host, without a path")
        return cls(origins)

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may read responses."""
        return origin in self.allowed_origins or "*" in self.allowed_origins


def function_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the Lambda function, or None outside Lambda."""
    return environment.get("AWS_LAMBDA_FUNCTION_NAME")


def metric_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """Return the CloudWatch namespace of the metrics. Each stack of an account has its own."""
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


class OrderSettings(NamedTuple):
    """Time from an order's creation until it cannot be paid."""

    valid_for: timedelta

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        text = environment.get("ORDER_VALID_HOURS") or "72"
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAXIMUM_ORDER_VALID_HOURS:
            raise InvalidSettings(f"ORDER_VALID_HOURS must be a whole number from 1 to {MAXIMUM_ORDER_VALID_HOURS}")
        return cls(valid_for=timedelta(hours=int(text)))


class StockAdjustmentSettings(NamedTuple):
    """Name of the DynamoDB table that records stock adjustments."""

    stock_adjustments_table: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(stock_adjustments_table=_required(environment, "STOCK_ADJUSTMENTS_TABLE"))


class EventSettings(NamedTuple):
    """Name of the EventBridge bus for order events, and URL of their dead-letter queue."""

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
    """Connection to Stripe.

    Either `secret_key` is set, or `secret_arn`, which names the Secrets Manager secret that contains the key.
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
            raise InvalidSettings("STRIPE_API_BASE must be a URL that begins with https:// or http://")
        return cls(
            secret_key=secret_key,
            backend=StripeBackend(backend),
            api_base=api_base,
            dummy_table=environment.get("DUMMY_STRIPE_TABLE") or None,
            secret_arn=secret_arn,
        )


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The secret with which Stripe signs webhook events; None if it is in Secrets Manager or not configured.

    It is optional, because Stripe issues it only for a deployed URL. Payments work without it.
    """

    signing_secret: str | None = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        if environment.get("STRIPE_SECRET_ARN"):
            return cls(signing_secret=None)
        return cls(signing_secret=environment.get("STRIPE_WEBHOOK_SECRET", "").strip() or None)


class ReconcilerSettings(NamedTuple):
    """The reconciler's share of Stripe's rate limit, as the number of orders that it may start per second.

    An order takes one call of one endpoint, or of each of two endpoints if it was paid.
    """

    orders_per_second: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        text = environment.get("RECONCILED_PER_SECOND") or "8"
        if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
            raise InvalidSettings("RECONCILED_PER_SECOND must be a whole number above 0")
        return cls(orders_per_second=float(text))


class JwtSettings(NamedTuple):
    """The trusted issuer and its keys. Either `jwks` is set, the key set as JSON, or `jwks_url`, its address.

    A token must have `audience` in the claim `audience_claim` and, if `token_use` is set, its value in that claim.
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
    """Return `value` if it is a key of test mode. Raises `InvalidSettings` with `name` and without the value."""
    if not isinstance(value, str) or not re.fullmatch(r"sk_test_\S+", value):
        raise InvalidSettings(f"{name} must be a test mode key, which begins with sk_test_")
    return value


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise InvalidSettings(f"{name} must be set")
    return value
