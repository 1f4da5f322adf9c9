"""Stripe's keys in Secrets Manager: caching, and rotation without a failed payment."""

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
from harness.functions import FunctionResponse, call, event_for, load_function
from order_payments.domain.errors import PaymentProviderError
from order_payments.domain.orders import Order, OrderLine, PaymentAttempt
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.settings import InvalidSettings
from order_payments.stripe_adapter import secrets as stripe_secrets
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Cancelled, Open, Paid, Refused, Unknown
from order_payments.stripe_adapter.secrets import (
    SECRET_COOL_DOWN_SECONDS,
    SECRET_MAX_AGE_SECONDS,
    Secrets,
    StripeSecrets,
)
from tests.support.function_shop import FunctionShop

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def plenty() -> Deadline:
    """Return a deadline with enough time for any Stripe call."""
    return Deadline.after(60)


def secret(key: str, webhook: str | None = "whsec_1") -> str:
    return json.dumps({"secretKey": key} | ({"webhookSecret": webhook} if webhook else {}))


class Vault:
    """A fake Secrets Manager and a fake clock."""

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
def test_invalid_secret_stops_the_start_and_is_not_printed(vault: Vault, value: str) -> None:
    vault.value = value

    with pytest.raises(InvalidSettings, match="STRIPE_SECRET_ARN") as refused:
        vault.secrets()

    assert "Planted" not in str(refused.value)


def test_repr_of_the_secrets_does_not_contain_their_values() -> None:
    text = repr(Secrets.parse(secret("sk_test_1", "whsec_1")))

    assert "sk_test_1" not in text
    assert "whsec_1" not in text


def test_secret_is_fetched_again_at_its_maximum_age(vault: Vault) -> None:
    secrets = vault.secrets()
    vault.value = secret("sk_test_2", "whsec_2")

    vault.now += SECRET_MAX_AGE_SECONDS - 1
    assert (secrets.secret_key(), vault.fetches) == ("sk_test_1", 1)
    vault.now += 1
    assert (secrets.secret_key(), secrets.webhook_secret(), vault.fetches) == ("sk_test_2", "whsec_2", 2)


@pytest.mark.parametrize("elapsed", [3 * 24 * 3600.0, -3600.0], ids=["restored from a snapshot", "clock set back"])
def test_secret_is_fetched_again_after_the_clock_jumped(vault: Vault, elapsed: float) -> None:
    secrets = vault.secrets()
    vault.value = secret("sk_test_2")

    vault.now += elapsed

    assert secrets.secret_key() == "sk_test_2"


def test_secret_is_fetched_once_per_cool_down(vault: Vault) -> None:
    secrets = vault.secrets()
    vault.now += SECRET_COOL_DOWN_SECONDS

    assert [secrets.refresh(rejected="sk_test_1") for _ in range(100)] == 100 * [False]
    assert vault.fetches == 2
    vault.now += SECRET_COOL_DOWN_SECONDS
    vault.value = secret("sk_test_2")
    assert secrets.refresh(rejected="sk_test_1")
    assert vault.fetches == 3


def test_caller_with_a_replaced_secret_gets_the_new_one(vault: Vault) -> None:
    secrets = vault.secrets()
    rejected = secrets.secret_key()
    vault.now += SECRET_COOL_DOWN_SECONDS
    vault.value = secret("sk_test_2")

    assert [secrets.refresh(rejected=rejected) for _ in range(2)] == [True, True]
    assert vault.fetches == 2


@pytest.mark.parametrize(
    "value",
    [EndpointConnectionError(endpoint_url="https://secretsmanager"), "{}", secret("sk_live_2"), None, "[" * 60_000],
    ids=["outage", "empty", "live", "binary", "deep"],
)
def test_old_secret_stays_in_use_while_no_valid_one_can_be_fetched(vault: Vault, value: str | Exception) -> None:
    secrets = vault.secrets()
    vault.value = value
    vault.now += SECRET_MAX_AGE_SECONDS

    assert [secrets.secret_key() for _ in range(100)] == 100 * ["sk_test_1"]
    assert vault.fetches == 2
    vault.value = secret("sk_test_2")
    vault.now += SECRET_COOL_DOWN_SECONDS
    assert secrets.secret_key() == "sk_test_2"


class SingleKeyStripe(DummyStripeHTTPClient):
    """The dummy Stripe with one valid API key."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.key = "sk_test_1"
        self.requests: list[tuple[str, str]] = []

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **options: Any) -> Any:
        key = headers["Authorization"].removeprefix("Bearer ")
        self.requests.append((url.rpartition("/")[2], key))
        if key != self.key:
            body = {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided."}}
            return json.dumps(body), 401, {}
        return super().request(method, url, headers, post_data, **options)


@pytest.fixture
def wire() -> SingleKeyStripe:
    return SingleKeyStripe()


@pytest.fixture
def gateway(wire: SingleKeyStripe, vault: Vault) -> StripeGateway:
    return StripeGateway(stripe.StripeClient("sk_test_of_the_start", http_client=wire), wire, vault.secrets())


def new_order() -> Order:
    return Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)


def claim(gateway: StripeGateway) -> Order:
    order = new_order()
    intent_id = gateway.create_intent(order, deadline=plenty())
    return replace(order, attempt=PaymentAttempt(PaymentAttempt.new_id(), intent_id, "pm_card_visa", NOW))


def rotate(wire: SingleKeyStripe, vault: Vault, key: str = "sk_test_2") -> None:
    """Replace the API key, so that Stripe rejects the old one at once."""
    wire.key = key
    vault.value = secret(key)
    vault.now += SECRET_COOL_DOWN_SECONDS
    wire.requests.clear()


def test_payment_continues_with_the_new_key_after_a_rotation(
    wire: SingleKeyStripe, gateway: StripeGateway, vault: Vault
) -> None:
    rotate(wire, vault)

    order = claim(gateway)

    assert isinstance(gateway.confirm(order, deadline=plenty()), Paid)
    assert wire.requests == [
        ("payment_intents", "sk_test_1"),
        ("payment_intents", "sk_test_2"),
        ("confirm", "sk_test_2"),
    ]


def test_call_with_a_wrong_key_is_not_retried_without_a_rotation(
    wire: SingleKeyStripe, gateway: StripeGateway, vault: Vault
) -> None:
    wire.key = "sk_test_another"
    vault.now += SECRET_COOL_DOWN_SECONDS

    for _ in range(3):
        with pytest.raises(PaymentProviderError):
            gateway.create_intent(new_order(), deadline=plenty())

    assert len(wire.requests) == 3
    assert vault.fetches == 2


def test_confirmation_is_not_retried_with_another_key(
    wire: SingleKeyStripe, gateway: StripeGateway, vault: Vault
) -> None:
    order = claim(gateway)
    rotate(wire, vault)

    outcome = gateway.confirm(order, deadline=plenty())

    assert isinstance(outcome, Refused)
    assert wire.requests == [("confirm", "sk_test_1")]


def test_read_cancel_and_refund_continue_with_the_new_key(
    wire: SingleKeyStripe, gateway: StripeGateway, vault: Vault
) -> None:
    unpaid, paid = claim(gateway), claim(gateway)
    gateway.confirm(paid, deadline=plenty())
    intents = [order.require_in_flight().payment_intent_id for order in (unpaid, paid)]

    rotate(wire, vault)
    assert isinstance(gateway.retrieve_state(unpaid, intents[0], deadline=plenty()), Open)
    rotate(wire, vault, "sk_test_3")
    assert isinstance(gateway.cancel(unpaid, intents[0], deadline=plenty()), Cancelled)
    rotate(wire, vault, "sk_test_4")
    assert isinstance(gateway.list_refunds(intents[1], deadline=plenty()), list)


def test_cancellation_with_a_wrong_key_is_unknown(wire: SingleKeyStripe, gateway: StripeGateway, vault: Vault) -> None:
    order = claim(gateway)
    wire.key = "sk_test_another"
    vault.now += SECRET_COOL_DOWN_SECONDS

    fence = gateway.cancel(order, order.require_in_flight().payment_intent_id, deadline=plenty())

    assert isinstance(fence, Unknown)


class SecretsManager:
    """A secret on moto's Secrets Manager."""

    def __init__(self, value: str) -> None:
        self.client = boto3.client("secretsmanager")
        self.arn = self.client.create_secret(Name="stripe", SecretString=value)["ARN"]

    def put(self, value: str) -> None:
        self.client.put_secret_value(SecretId=self.arn, SecretString=value)


@pytest.fixture
def manager(dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManager]:  # noqa: ARG001 - starts moto
    manager = SecretsManager(secret("sk_test_1"))
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("STRIPE_SECRET_ARN", manager.arn)
    yield manager
    manager.client.close()


@pytest.mark.usefixtures("manager")
def test_order_is_paid_with_the_key_from_secrets_manager(shop: FunctionShop) -> None:
    assert shop.pay(shop.order((shop.add_product(), 1))).status == 200


@pytest.mark.parametrize(("kind", "tries"), [("snap-start", 3), ("on-demand", 1)])
def test_snapshot_start_retries_until_the_permission_applies(
    monkeypatch: pytest.MonkeyPatch, kind: str, tries: int
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not yet"}}, "GetSecretValue")
    responses: list[Any] = [denied, denied, {"SecretString": secret("sk_test_1")}]
    requests: list[str] = []

    class DeniedAtFirst:
        def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803 - boto3's
            requests.append(SecretId)
            response = responses[len(requests) - 1]
            if isinstance(response, Exception):
                raise response
            return response

    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    monkeypatch.setattr(stripe_secrets, "secrets_client", DeniedAtFirst)
    monkeypatch.setattr(stripe_secrets, "ACCESS_RETRY_PAUSES_SECONDS", (0.0, 0.0, 0.0))

    if kind == "snap-start":
        assert stripe_secrets.stripe_secrets("arn").secret_key() == "sk_test_1"
    else:
        with pytest.raises(ClientError):
            stripe_secrets.stripe_secrets("arn")
    assert len(requests) == tries


def test_key_and_secret_arn_together_are_refused(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert {send_event(webhook, forged).status for forged in ("", "None", "whsec_1")} == {400}


@pytest.mark.usefixtures("manager")
def test_webhook_accepts_events_once_its_secret_is_there(
    manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.put(secret("sk_test_1", None))
    webhook = load_function("stripe_webhook")
    manager.put(secret("sk_test_1", "whsec_1"))
    monkeypatch.setattr(stripe_secrets, "SECRET_MAX_AGE_SECONDS", 0)
    monkeypatch.setattr(stripe_secrets, "SECRET_COOL_DOWN_SECONDS", 0)

    assert send_event(webhook, "whsec_1").status == 200


def send_event(webhook: ModuleType, signed_with: str) -> FunctionResponse:
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {}}})
    headers = {"Stripe-Signature": sign(body.encode(), signed_with, int(utc_now().timestamp()))}
    event = event_for("POST /webhooks/stripe", body=body, headers=headers)
    return call(webhook, event)


@pytest.fixture
def webhook(manager: SecretsManager, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    assert manager.arn
    monkeypatch.setattr(stripe_secrets, "SECRET_COOL_DOWN_SECONDS", 0)
    return load_function("stripe_webhook")


def test_event_signed_with_a_new_secret_is_accepted_without_a_deploy(
    webhook: ModuleType, manager: SecretsManager
) -> None:
    assert send_event(webhook, "whsec_1").status == 200
    assert send_event(webhook, "whsec_2").status == 400
    manager.put(secret("sk_test_1", "whsec_3"))

    assert send_event(webhook, "whsec_3").status == 200
    assert send_event(webhook, "whsec_1").status == 400


def test_flood_of_forged_events_fetches_the_secret_once(
    vault: Vault, manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manager.arn
    webhook = load_function("stripe_webhook")
    monkeypatch.setattr(webhook.stripe, "secrets", vault.secrets())
    vault.now += SECRET_COOL_DOWN_SECONDS

    assert {send_event(webhook, "whsec_forged").status for _ in range(20)} == {400}
    assert vault.fetches == 2
    assert send_event(webhook, "whsec_1").status == 200


def test_webhook_refuses_events_after_its_secret_was_removed(webhook: ModuleType, manager: SecretsManager) -> None:
    manager.put(secret("sk_test_1", None))
    webhook.stripe.secrets.refresh(rejected="whsec_1")

    assert {send_event(webhook, forged).status for forged in ("", "None", "whsec_1")} == {400}
