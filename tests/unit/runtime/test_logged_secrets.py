"""No secret is logged or returned, even at log level DEBUG."""

import io
import json
from collections.abc import Iterator

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.runtime.observability import logger
from tests.support.function_shop import FunctionShop
from tests.support.shop import ALICE

KEY = "sk_test_PlantedKey0123456789"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.PlantedToken.signature"
PAYMENT_METHOD = "pm_PlantedPaymentMethod"


@pytest.fixture(autouse=True)
def log_everything() -> Iterator[None]:
    logger.setLevel("DEBUG")
    yield
    logger.setLevel("INFO")


@pytest.fixture
def shop(dynamodb: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> FunctionShop:
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    return FunctionShop(dynamodb)


@pytest.mark.parametrize("card", [PAYMENT_METHOD, "pm_card_visa", "pm_dummy_api_error", "pm_card_chargeDeclined"])
def test_key_token_and_payment_method_are_not_logged_or_returned(
    shop: FunctionShop,
    card: str,
    log_output: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    order = shop.order((shop.add_product(), 1))
    body = json.dumps({"paymentMethodId": card})

    replies = [
        shop.send("POST", f"/orders/{order}/payment", ALICE, content=body, headers=headers),
        shop.send("POST", f"/orders/{order}/payment", ALICE, content=body + "}", headers=headers),
        shop.send("POST", "/orders", ALICE, content=f'{{"{TOKEN}": 1}}', headers=headers),
    ]

    lines = log_output.getvalue()
    assert order in lines
    assert "gateway-request-id" in lines
    everything = lines + "".join(capfd.readouterr()) + caplog.text
    assert not [secret for secret in (KEY, KEY[8:], "PlantedToken", PAYMENT_METHOD) if secret in everything]
    returned = "".join(json.dumps(reply.body) for reply in replies)
    assert not [secret for secret in (KEY, KEY[8:], PAYMENT_METHOD) if secret in returned]


def test_unexpected_error_is_logged_without_the_request(
    shop: FunctionShop,
    dynamodb: DynamoDBClient,
    log_output: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    order = shop.order((shop.add_product(), 1))
    dynamodb.delete_table(TableName="OrdersTable")

    reply = shop.send(
        "POST",
        f"/orders/{order}/payment",
        ALICE,
        content=json.dumps({"paymentMethodId": PAYMENT_METHOD}),
        headers={"Authorization": f"Bearer {TOKEN}"},
    )

    lines = log_output.getvalue()
    assert (reply.status, reply.code) == (500, "internal_error")
    assert "ResourceNotFoundException" in lines
    everything = lines + "".join(capfd.readouterr()) + caplog.text + json.dumps(reply.body)
    assert not [secret for secret in (KEY, TOKEN, PAYMENT_METHOD) if secret in everything]
