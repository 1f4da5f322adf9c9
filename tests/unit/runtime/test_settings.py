"""Settings: a misconfigured function does not start, and its error names the variable but not the value."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from command_line.project import PROJECT
from delivery.rendering import template
from harness.functions import load_function
from order_payments.runtime.settings import (
    MAXIMUM_ORDER_VALID_HOURS,
    CorsSettings,
    InvalidSettings,
    OrderSettings,
    StripeBackend,
    StripeSettings,
)
from tests.support.function_shop import ENVIRONMENT

INVALID_STRIPE_KEYS = [
    "",
    " ",
    "sk_test_",
    "sk_live_51SecretSecret",
    "pk_test_51SecretSecret",
    "SK_TEST_51SecretSecret",
    "51SecretSecret",
]


@pytest.mark.parametrize("key", INVALID_STRIPE_KEYS)
def test_key_that_is_not_a_test_mode_key_is_refused_and_not_printed(key: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        StripeSettings.from_environment({"STRIPE_SECRET_KEY": key})

    assert "STRIPE_SECRET_KEY" in str(refused.value)
    assert "51SecretSecret" not in str(refused.value)


def test_repr_of_the_settings_does_not_contain_the_stripe_key() -> None:
    assert "sk_test_1" not in repr(StripeSettings.from_environment({"STRIPE_SECRET_KEY": "sk_test_1"}))


def test_stripe_backend_defaults_to_the_dummy() -> None:
    assert StripeSettings.from_environment({"STRIPE_SECRET_KEY": "sk_test_1"}).backend is StripeBackend.DUMMY


def test_unknown_stripe_backend_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="STRIPE_BACKEND"):
        StripeSettings.from_environment({"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_BACKEND": "live"})


STRIPE = {"STRIPE_SECRET_KEY": "sk_test_1"}


@pytest.mark.parametrize("url", ["localhost:8420", "ftp://stripe.example", "https://", "https://a b", "//x", "x"])
def test_invalid_stripe_api_base_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="STRIPE_API_BASE"):
        StripeSettings.from_environment({**STRIPE, "STRIPE_API_BASE": url})


@pytest.mark.parametrize("url", ["https://api.stripe.com", "http://127.0.0.1:8420", "http://stripe:8420/base/"])
def test_stripe_api_base_can_be_another_url(url: str) -> None:
    assert StripeSettings.from_environment({**STRIPE, "STRIPE_API_BASE": url}).api_base == url


@pytest.mark.parametrize(("hours", "valid_for"), [(None, 72), ("", 72), ("1", 1), ("8760", 8760)])
def test_orders_are_valid_for_the_configured_hours(hours: str | None, valid_for: int) -> None:
    environment = {} if hours is None else {"ORDER_VALID_HOURS": hours}

    assert OrderSettings.from_environment(environment).valid_for == timedelta(hours=valid_for)


def test_parameter_has_the_default_and_the_range_of_the_setting() -> None:
    parameter = template()["Parameters"]["OrderValidHours"]

    assert timedelta(hours=parameter["Default"]) == OrderSettings.from_environment({}).valid_for
    assert (parameter["MinValue"], parameter["MaxValue"]) == (1, MAXIMUM_ORDER_VALID_HOURS)


@pytest.mark.parametrize(
    ("origins", "allowed", "refused"),
    [
        ("", [], ["https://shop.example", "null", ""]),
        ("*", ["https://shop.example", "null"], []),
        (
            "https://a.example, http://b.example:8080",
            ["https://a.example", "http://b.example:8080"],
            ["https://b.example"],
        ),
    ],
)
def test_only_listed_origins_are_allowed(origins: str, allowed: list[str], refused: list[str]) -> None:
    settings = CorsSettings.from_environment({"CORS_ALLOWED_ORIGINS": origins})

    assert all(map(settings.allows, allowed))
    assert not any(map(settings.allows, refused))


@pytest.mark.parametrize(
    "origins", ["shop.example", "https://shop.example/path", "https://a.example;https://b.example/x"]
)
def test_invalid_origin_is_refused(origins: str) -> None:
    with pytest.raises(InvalidSettings, match="CORS_ALLOWED_ORIGINS"):
        CorsSettings.from_environment({"CORS_ALLOWED_ORIGINS": origins})


@pytest.mark.parametrize(
    ("function", "variable", "value"),
    [
        ("initiate_payment", "STRIPE_SECRET_KEY", "sk_live_51SecretSecret"),
        ("initiate_payment", "STRIPE_SECRET_KEY", ""),
        ("initiate_payment", "ORDERS_TABLE", ""),
        ("create_order", "PRODUCTS_TABLE", ""),
        *(("create_order", "ORDER_VALID_HOURS", hours) for hours in ("51SecretSecret", "0", "8761", "1.5", "-1")),
        ("initiate_payment", "ORDER_VALID_HOURS", "51SecretSecret"),
        ("get_order_status", "ORDERS_TABLE", ""),
        ("get_product", "PRODUCTS_TABLE", ""),
        ("list_orders", "ORDERS_TABLE", ""),
        ("list_products", "PRODUCTS_TABLE", ""),
        ("list_products", "CORS_ALLOWED_ORIGINS", "51SecretSecret"),
        ("override_order_status", "ORDERS_TABLE", ""),
        ("reconcile_payments", "STRIPE_API_BASE", "51SecretSecret"),
        ("reconcile_payments", "RECONCILED_PER_SECOND", "51SecretSecret"),
        ("reconcile_payments", "RECONCILED_PER_SECOND", "0"),
        ("put_product", "PRODUCTS_TABLE", ""),
        ("publish_order_events", "ORDER_EVENTS_BUS", ""),
        ("publish_order_events", "ORDER_EVENTS_DEAD_LETTERS", ""),
    ],
)
def test_misconfigured_function_does_not_start_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, function: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettings, match=variable) as refused:
        load_function(function)

    assert "51SecretSecret" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    sorted(path.parent.name for path in PROJECT.glob("functions/*/handler.py") if path.parent.name != "authorizer"),
)
def test_configured_function_starts(function: str) -> None:
    """Start the function as on Lambda: in a separate process, with only its folder and the layers on the path."""
    folder = PROJECT / "functions" / function

    started = subprocess.run(
        [sys.executable, "-c", "import handler; print('started')"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (folder, *PROJECT.glob("layers/*")))),
            "HOME": str(Path.home()),
            **ENVIRONMENT,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.stdout == "started\n"
