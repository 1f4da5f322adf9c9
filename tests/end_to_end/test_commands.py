"""The developer's command line on a running stack."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from local import cli, doctor
from local.stack import USERS, Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import Stock, User

Run = Callable[..., Result]
BUYER = User(*USERS["buyer"])


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command against the tests' stack."""
    monkeypatch.setattr("local.running.find_running_stack", stack.description)
    monkeypatch.setattr("local.shop.client.STATE", stack.state)
    runner = CliRunner(env={"COLUMNS": "200"})

    def run(*arguments: Any) -> Result:
        return runner.invoke(cli.app, [str(argument) for argument in arguments])

    return run


def test_seed_loads_catalogue_and_reports_bad_rows(run: Run, shop: HttpShop, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(
        "productId,name,unitPrice,currency,stock\nseeded,Seeded,450,usd,7\n-bad,Bad,450,usd,7\nfree,F,0,usd,1\n"
    )

    result = run("seed", path)

    assert result.exit_code == 1
    assert "Loaded 1 of 3 products." in result.output
    assert "row 3: productId: '-bad' must be 1 to 64 letters" in result.output
    assert "row 4: unitPrice: 0 must be a whole number from 1" in result.output
    assert "Correct these rows" in result.output
    assert shop.stock("seeded") == Stock(stock=7, reserved=0, available=7)


def test_seeding_again_keeps_sold_units(run: Run, shop: HttpShop, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("productId,name,unitPrice,currency,stock\nsold-and-seeded,Seeded,450,usd,7\n")
    run("seed", path)
    shop.pay(shop.order(("sold-and-seeded", 4)))

    assert "Loaded 1 of 1 products." in run("seed", path).output
    assert shop.stock("sold-and-seeded") == Stock(stock=3, reserved=0, available=3)

    run("seed", path, "--set-stock")
    assert shop.stock("sold-and-seeded") == Stock(stock=7, reserved=0, available=7)


def test_large_catalogue_is_loaded_with_its_bad_rows_reported(run: Run, shop: HttpShop, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    rows = [f"large-{number},Large,450,usd,7" for number in range(120)]
    path.write_text("\n".join(["productId,name,unitPrice,currency,stock", *rows, "bad,Bad,0,usd,7"]))

    result = run("seed", path)

    assert "Loaded 120 of 121 products." in result.output
    assert "row 122: unitPrice: 0 must be a whole number from 1" in result.output
    assert shop.stock("large-119") == Stock(stock=7, reserved=0, available=7)


def test_orders_lists_the_buyers_orders(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(unit_price=1250), 2), user=BUYER)

    result = run("orders", "--limit", 1)

    assert result.exit_code == 0
    for shown in (order, "pending", "25.00 USD", "2 x Green tea"):
        assert shown in result.output


def test_orders_escapes_names_and_formats_currencies(run: Run, shop: HttpShop) -> None:
    shop.order((shop.add_product(name="[/b] [bold]tag", unit_price=1234, currency="jpy"), 1), user=BUYER)

    result = run("orders", "--limit", 1)

    assert "1 x [/b] [bold]tag" in result.output
    assert "1,234 JPY" in result.output


def test_api_error_is_reported_with_advice(run: Run, stack: Stack) -> None:
    result = run("orders", "--token", stack.token("alice", ["buyer"], expires_in=timedelta(minutes=-5)))

    assert isinstance(result.exception, CommandError)
    assert "returned 401. unauthorized: " in str(result.exception)
    assert "print another token: ./shop token" in str(result.exception)


def test_order_is_placed_and_paid_by_the_commands_alone(run: Run, shop: HttpShop) -> None:
    product = shop.add_product(unit_price=1250, stock=5)
    assert product in run("products", "--as", "carol", "--limit", 1000).output

    placed = run("order", f"{product}:2", "--as", "carol")
    assert "25.00 USD" in placed.output
    assert "pending" in run("status", "--as", "carol").output
    assert "The order is confirmed" in run("pay", "--as", "carol").output
    assert "confirmed" in run("status", "--as", "carol").output
    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)
    nothing = run("pay", "--as", "carol")
    assert "no order that can be paid" in str(nothing.exception)


def test_override_settles_an_order(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("override", order, "cancelled", "--reason", "Out of print.")

    assert result.exit_code == 0, result.output
    assert "Out of print." in run("status", order).output


@pytest.mark.parametrize(
    ("card", "code", "shown"),
    [
        ("visa", 0, ["200 OK", "pm_card_visa", "confirmed"]),
        ("chargeDeclined", 1, ["402 Payment Required", "payment_failed", "cancelled"]),
        ("dummy_timeout_after_charge", 0, ["202 Accepted", "pending"]),
    ],
)
def test_pay_accepts_a_card_by_name(run: Run, shop: HttpShop, card: str, code: int, shown: list[str]) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("pay", order, "--card", card)

    assert result.exit_code == code, result.output
    assert all(text in result.output for text in shown), result.output


def test_pay_of_unknown_order_reports_not_found(run: Run) -> None:
    result = run("pay", f"ord_{0:032x}")

    assert result.exit_code == 1
    assert "order_not_found" in result.output
    assert "./shop orders" in result.output


def test_pay_of_another_buyers_order_names_the_other_buyer(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("pay", order, "--as", "buyer2")

    assert result.exit_code == 1
    assert "forbidden" in result.output
    assert f"./shop pay {order}\n" in result.output


def test_pay_of_settled_order_advises_to_place_another(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)
    assert run("pay", order).exit_code == 0

    result = run("pay", order)

    assert result.exit_code == 1
    assert "payment_already_attempted" in result.output
    assert "The order is confirmed" in result.output
    assert "Place another one" in result.output


def test_event_of_unpaid_order_names_the_pay_command(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("event", "--order", order)

    assert isinstance(result.exception, CommandError)
    assert f"./shop pay {order}" in str(result.exception)


def test_unknown_card_lists_the_known_cards(run: Run) -> None:
    result = run("pay", "ord_1", "--card", "gold")

    assert isinstance(result.exception, CommandError)
    assert "chargeDeclinedLostCard" in str(result.exception)


def test_reconcile_reports_when_a_payment_in_flight_is_settled(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)
    run("pay", order, "--card", "dummy_timeout_after_charge")

    result = run("reconcile")

    assert result.exit_code == 0
    assert "settled" in result.output
    assert re.search(r"\d+ in flight, settles? in .*\d+ s", result.output)


@pytest.mark.parametrize("command", [["orders"], ["pay", "ord_1"], ["reconcile"], ["token"], ["event", "--order", "o"]])
def test_command_without_running_stack_names_make_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("local.running.find_running_stack", lambda: None)

    result = run(*command)

    assert isinstance(result.exception, CommandError)
    assert "make run" in str(result.exception)


def test_doctor_checks_everything_and_gives_advice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_connect() -> None:
        raise CommandError("no container engine responds")

    monkeypatch.setattr("local.sam_local.container_engine.connect", fail_to_connect)
    result = run("doctor")

    assert result.exit_code == 0, result.output
    for what in ("Python", "Disk", "Stack", "Port 3000", "Java", "DynamoDB Local", "Chromium", "Docker or Podman"):
        assert what in result.output
    assert "Start Docker" in result.output


def test_doctor_fails_if_a_requirement_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.doctor.run_checks", lambda: [doctor.CheckResult("Disk", "0.1 GB free", "Make room")])

    result = run("doctor")

    assert result.exit_code == 1
    assert "Make room" in result.output
