"""The stack with Stripe's key in Secrets Manager: no environment has it, and rotating it needs no deployment."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from dummy_stripe.events import sign
from local.emulator.process import Emulator
from local.stack import Stack, running_stack
from order_payments.runtime.clock import utc_now
from order_payments.stripe_adapter.secrets import SECRET_COOL_DOWN_SECONDS
from tests.support.http_shop import HttpShop

NAME = "stripe"


def value(number: int) -> str:
    return json.dumps({"secretKey": f"sk_test_Planted{number}", "webhookSecret": f"whsec_Planted{number}"})


def with_a_secret(emulator: Emulator) -> Mapping[str, str]:
    with closing(emulator.client("secretsmanager")) as client:
        arn = client.create_secret(Name=NAME, SecretString=value(1))["ARN"]
    return {"StripeSecretKey": "", "StripeWebhookSecret": "", "StripeSecretArn": arn}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack-with-secret")
    with running_stack(state=state, enforce_policies=True, parameters=with_a_secret) as running:
        yield running


def tell(shop: HttpShop, number: int) -> int:
    """Bring news to the webhook that is about nothing of ours, signed with the secret of this number."""
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {}}})
    signature = sign(body.encode(), f"whsec_Planted{number}", int(utc_now().timestamp()))
    headers = {"Stripe-Signature": signature}
    return shop.send_with(None, "POST", "/webhooks/stripe", content=body, headers=headers).status


def test_an_order_is_paid_and_no_environment_and_no_log_has_the_key(stack: Stack, shop: HttpShop) -> None:
    paid = shop.pay(shop.order((shop.add_product(), 1)))

    assert paid.status == 200
    with closing(stack.client("lambda")) as client:
        environments = json.dumps([each.get("Environment") for each in client.list_functions()["Functions"]])
    assert "Planted" not in environments
    assert "Planted" not in stack.function_logs()


def test_a_rotated_secret_is_taken_up_without_a_deployment(stack: Stack, shop: HttpShop) -> None:
    assert tell(shop, 1) == 200
    with closing(stack.client("secretsmanager")) as client:
        client.put_secret_value(SecretId=NAME, SecretString=value(2))
    rotated = utc_now()

    # Stripe sends again what was refused; the function looks for a new secret at most so often.
    while tell(shop, 2) != 200:
        assert (utc_now() - rotated).total_seconds() < 2 * SECRET_COOL_DOWN_SECONDS
    assert tell(shop, 1) == 400
    assert shop.pay(shop.order((shop.add_product(), 1))).status == 200
