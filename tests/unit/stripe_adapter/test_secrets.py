"""Stripe's key from Secrets Manager: fetched once, kept for a while, and rotated without a failed payment."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import boto3
import pytest
import stripe
from botocore.exceptions import ClientError, EndpointConnectionError
from mypy_boto3_dynamodb import DynamoDBClient

from dummy_stripe import MemoryStore
from dummy_stripe.events import sign
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.functions import Answer, call, event_for, load_function
from order_payments.domain.errors import PaymentProviderError
from order_payments.domain.orders import Order, OrderLine, PaymentAttempt
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.settings import InvalidSettings
from order_payments.stripe_adapter import secrets as stripe_secrets
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Cancelled, Open, Paid, Refunded, Refused, Unknown
from order_payments.stripe_adapter.secrets import (
    SECRET_COOL_DOWN_SECONDS,
    SECRET_MAX_AGE_SECONDS,
    Secrets,
    StripeSecrets,
)
from tests.support.function_shop import FunctionShop

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def plenty() -> Deadline:
    """Time for any call of Stripe."""
    return Deadline.after(60)


def secret(key: str, webhook: str | None = "whsec_1") -> str:
    return json.dumps({"secretKey": key} | ({"webhookSecret": webhook} if webhook else {}))


class Vault:
    """Secrets Manager, and the time."""

    def __init__(self) -> None:
        self.value: str | Exception | None = secret("sk_test_1")
        self.fetches = 0
        self.now = 1_795_000_000.0

    def fetch(self) -> str | None:
        self.fetches += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def secrets(self) -> StripeSecrets:
        return StripeSecrets(self.fetch, lambda: self.now)


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.mark.parametrize(
    "value",
    [
        "sk_test_Planted",
        '"sk_test_Planted"',
        "[]",
        "{}",
        secret("sk_live_Planted"),
        secret("Planted"),
        '{"secretKey":1}',
        '{"secretKey":"sk_test_1","webhookSecret":"Planted"}',
        '{"secretKey":"sk_test_1","webhookSecret":1}',
    ],
)
def test_a_secret_that_cannot_be_right_stops_the_function_at_start_and_is_not_told(vault: Vault, value: str) -> None:
    vault.value = value

    with pytest.raises(InvalidSettings, match="STRIPE_SECRET_ARN") as refused:
        vault.secrets()

    assert "Planted" not in str(refused.value)


def test_no_text_of_the_secrets_has_their_value() -> None:
    text = repr(Secrets.parse(secret("sk_test_1", "whsec_1")))

    assert "sk_test_1" not in text
    assert "whsec_1" not in text


def test_a_secret_is_fetched_again_when_it_is_old(vault: Vault) -> None:
    secrets = vault.secrets()
    vault.value = secret("sk_test_2", "whsec_2")

    vault.now += SECRET_MAX_AGE_SECONDS - 1
    assert (secrets.secret_key(), vault.fetches) == ("sk_test_1", 1)
    vault.now += 1
    assert (secrets.secret_key(), secrets.webhook_secret(), vault.fetches) == ("sk_test_2", "whsec_2", 2)


@pytest.mark.parametrize("passed", [3 * 24 * 3600.0, -3600.0], ids=["restored from a snapshot", "clock set back"])
def test_a_secret_of_another_time_is_not_trusted(vault: Vault, passed: float) -> None:
    secrets = vault.secrets()
    vault.value = secret("sk_test_2")

    vault.now += passed

    assert secrets.secret_key() == "sk_test_2"


def test_whoever_wants_it_it_is_fetched_once_in_half_a_minute(vault: Vault) -> None:
    secrets = vault.secrets()
    vault.now += SECRET_COOL_DOWN_SECONDS

    assert [secrets.refresh(rejected="sk_test_1") for _ in range(100)] == 100 * [False]
    assert vault.fetches == 2
    vault.now += SECRET_COOL_DOWN_SECONDS
    vault.value = secret("sk_test_2")
    assert secrets.refresh(rejected="sk_test_1")
    assert vault.fetches == 3


def test_who_used_a_value_that_somebody_renewed_meanwhile_goes_on_with_the_new_one(vault: Vault) -> None:
    secrets = vault.secrets()
    used_by_both = secrets.secret_key()
    vault.now += SECRET_COOL_DOWN_SECONDS
    vault.value = secret("sk_test_2")

    assert [secrets.refresh(rejected=used_by_both) for _ in range(2)] == [True, True]
    assert vault.fetches == 2


@pytest.mark.parametrize(
    "value",
    [EndpointConnectionError(endpoint_url="https://secretsmanager"), "{}", secret("sk_live_2"), None, "[" * 60_000],
    ids=["away", "empty", "live", "binary", "deep"],
)
def test_while_there_is_nothing_better_the_old_value_stays_and_is_not_asked_for_in_haste(
    vault: Vault, value: str | Exception
) -> None:
    secrets = vault.secrets()
    vault.value = value
    vault.now += SECRET_MAX_AGE_SECONDS

    assert [secrets.secret_key() for _ in range(100)] == 100 * ["sk_test_1"]
    assert vault.fetches == 2
    vault.value = secret("sk_test_2")
    vault.now += SECRET_COOL_DOWN_SECONDS
    assert secrets.secret_key() == "sk_test_2"


class Stripe(DummyStripeHTTPClient):
    """A Stripe that knows one key."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.key = "sk_test_1"
        self.asked: list[tuple[str, str]] = []

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **options: Any) -> Any:
        key = headers["Authorization"].removeprefix("Bearer ")
        self.asked.append((url.rpartition("/")[2], key))
        if key != self.key:
            body = {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided."}}
            return json.dumps(body), 401, {}
        return super().request(method, url, headers, post_data, **options)


@pytest.fixture
def wire() -> Stripe:
    return Stripe()


@pytest.fixture
def gateway(wire: Stripe, vault: Vault) -> StripeGateway:
    return StripeGateway(stripe.StripeClient("sk_test_of_the_start", http_client=wire), wire, vault.secrets())


def an_order() -> Order:
    return Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)


def claimed(gateway: StripeGateway) -> Order:
    order = an_order()
    intent_id = gateway.create_intent(order, deadline=plenty())
    return replace(order, attempt=PaymentAttempt(PaymentAttempt.new_id(), intent_id, "pm_card_visa", NOW))


def rotate(wire: Stripe, vault: Vault, key: str = "sk_test_2") -> None:
    """The old key ends at once."""
    wire.key = key
    vault.value = secret(key)
    vault.now += SECRET_COOL_DOWN_SECONDS
    wire.asked.clear()


def test_a_payment_goes_on_with_the_new_key_where_the_old_one_was_revoked(
    wire: Stripe, gateway: StripeGateway, vault: Vault
) -> None:
    rotate(wire, vault)

    order = claimed(gateway)

    assert isinstance(gateway.confirm(order, deadline=plenty()), Paid)
    assert wire.asked == [
        ("payment_intents", "sk_test_1"),
        ("payment_intents", "sk_test_2"),
        ("confirm", "sk_test_2"),
    ]


def test_a_key_that_stripe_does_not_know_and_nobody_rotated_is_tried_once(
    wire: Stripe, gateway: StripeGateway, vault: Vault
) -> None:
    wire.key = "sk_test_another"
    vault.now += SECRET_COOL_DOWN_SECONDS

    for _ in range(3):
        with pytest.raises(PaymentProviderError):
            gateway.create_intent(an_order(), deadline=plenty())

    assert len(wire.asked) == 3
    assert vault.fetches == 2


def test_a_confirmation_is_not_repeated_under_another_key(wire: Stripe, gateway: StripeGateway, vault: Vault) -> None:
    order = claimed(gateway)
    rotate(wire, vault)

    outcome = gateway.confirm(order, deadline=plenty())

    assert isinstance(outcome, Refused)
    assert wire.asked == [("confirm", "sk_test_1")]


def test_what_brings_a_payment_to_its_end_goes_on_with_the_new_key(
    wire: Stripe, gateway: StripeGateway, vault: Vault
) -> None:
    open_one, paid = claimed(gateway), claimed(gateway)
    gateway.confirm(paid, deadline=plenty())
    intents = [order.require_in_flight().payment_intent_id for order in (open_one, paid)]

    rotate(wire, vault)
    assert isinstance(gateway.retrieve_state(open_one, intents[0], deadline=plenty()), Open)
    rotate(wire, vault, "sk_test_3")
    assert isinstance(gateway.cancel(open_one, intents[0], deadline=plenty()), Cancelled)
    rotate(wire, vault, "sk_test_4")
    assert isinstance(gateway.refund(paid, intents[1], deadline=plenty()), Refunded)


def test_a_fence_with_a_wrong_key_leaves_the_payment_unknown(
    wire: Stripe, gateway: StripeGateway, vault: Vault
) -> None:
    order = claimed(gateway)
    wire.key = "sk_test_another"
    vault.now += SECRET_COOL_DOWN_SECONDS

    fence = gateway.cancel(order, order.require_in_flight().payment_intent_id, deadline=plenty())

    assert isinstance(fence, Unknown)


class SecretsManager:
    """A secret on moto's Secrets Manager, which the functions are told of."""

    def __init__(self, value: str) -> None:
        self.client = boto3.client("secretsmanager")
        self.arn = self.client.create_secret(Name="stripe", SecretString=value)["ARN"]

    def put(self, value: str) -> None:
        self.client.put_secret_value(SecretId=self.arn, SecretString=value)


@pytest.fixture
def manager(dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManager]:  # noqa: ARG001 - moto
    manager = SecretsManager(secret("sk_test_1"))
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("STRIPE_SECRET_ARN", manager.arn)
    yield manager
    manager.client.close()


@pytest.mark.usefixtures("manager")
def test_an_order_is_paid_with_a_key_that_no_environment_has(shop: FunctionShop) -> None:
    assert shop.pay(shop.order((shop.add_product(), 1))).status == 200


@pytest.mark.parametrize(("kind", "tries"), [("snap-start", 3), ("on-demand", 1)])
def test_before_a_snapshot_a_right_that_was_given_just_now_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, kind: str, tries: int
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not yet"}}, "GetSecretValue")
    answers: list[Any] = [denied, denied, {"SecretString": secret("sk_test_1")}]
    asked: list[str] = []

    class NotYet:
        def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803 - boto3's
            asked.append(SecretId)
            answer = answers[len(asked) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    monkeypatch.setattr(stripe_secrets, "secrets_client", NotYet)
    monkeypatch.setattr(stripe_secrets, "ACCESS_RETRY_PAUSES_SECONDS", (0.0, 0.0, 0.0))

    if kind == "snap-start":
        assert stripe_secrets.stripe_secrets("arn").secret_key() == "sk_test_1"
    else:
        with pytest.raises(ClientError):
            stripe_secrets.stripe_secrets("arn")
    assert len(asked) == tries


def test_a_key_and_a_secret_at_once_are_refused(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manager.arn
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_1")

    with pytest.raises(InvalidSettings, match="only one"):
        load_function("initiate_payment")


WITHOUT_WEBHOOK_SECRET = [secret("sk_test_1", None), '{"secretKey":"sk_test_1","webhookSecret":""}']


@pytest.mark.parametrize("value", WITHOUT_WEBHOOK_SECRET, ids=["none", "empty"])
def test_webhook_without_a_secret_in_secrets_manager_refuses_events(
    manager: SecretsManager, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager.put(value)

    webhook = load_function("stripe_webhook")

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert {tell(webhook, forged).status for forged in ("", "None", "whsec_1")} == {400}


@pytest.mark.usefixtures("manager")
def test_webhook_accepts_events_once_its_secret_is_there(
    manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.put(secret("sk_test_1", None))
    webhook = load_function("stripe_webhook")
    manager.put(secret("sk_test_1", "whsec_1"))
    monkeypatch.setattr(stripe_secrets, "SECRET_MAX_AGE_SECONDS", 0)
    monkeypatch.setattr(stripe_secrets, "SECRET_COOL_DOWN_SECONDS", 0)

    assert tell(webhook, "whsec_1").status == 200


def tell(webhook: ModuleType, signed_with: str) -> Answer:
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {}}})
    headers = {"Stripe-Signature": sign(body.encode(), signed_with, int(utc_now().timestamp()))}
    event = event_for("POST /webhooks/stripe", body=body, headers=headers)
    return call(webhook, event)


@pytest.fixture
def webhook(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    assert manager.arn
    monkeypatch.setattr(stripe_secrets, "SECRET_COOL_DOWN_SECONDS", 0)
    return load_function("stripe_webhook")


def test_news_signed_with_a_new_secret_is_taken_without_a_deployment(
    webhook: ModuleType, manager: SecretsManager
) -> None:
    assert tell(webhook, "whsec_1").status == 200
    assert tell(webhook, "whsec_2").status == 400
    manager.put(secret("sk_test_1", "whsec_3"))

    assert tell(webhook, "whsec_3").status == 200
    assert tell(webhook, "whsec_1").status == 400


def test_a_flood_of_forged_news_has_the_secret_fetched_once(
    vault: Vault, manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manager.arn
    webhook = load_function("stripe_webhook")
    monkeypatch.setattr(webhook.stripe, "secrets", vault.secrets())
    vault.now += SECRET_COOL_DOWN_SECONDS

    assert {tell(webhook, "whsec_forged").status for _ in range(20)} == {400}
    assert vault.fetches == 2
    assert tell(webhook, "whsec_1").status == 200


def test_where_the_signing_secret_has_gone_nothing_is_signed(webhook: ModuleType, manager: SecretsManager) -> None:
    manager.put(secret("sk_test_1", None))
    webhook.stripe.secrets.refresh(rejected="whsec_1")

    assert {tell(webhook, forged).status for forged in ("", "None", "whsec_1")} == {400}
