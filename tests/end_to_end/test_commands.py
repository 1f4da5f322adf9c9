"""The command line on a running stack: what a developer does there by hand."""

from collections.abc import Callable
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
    """Run a command, which finds the tests' stack as the one that is running."""
    monkeypatch.setattr("local.running.find_running_stack", stack.description)
    runner = CliRunner(env={"COLUMNS": "200"})

    def run(*arguments: Any) -> Result:
        return runner.invoke(cli.app, [str(argument) for argument in arguments])

    return run


def test_seed_loads_a_catalogue_and_tells_of_bad_rows(run: Run, shop: HttpShop, tmp_path: Path) -> None:
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


def test_seeding_again_puts_no_sold_units_back(run: Run, shop: HttpShop, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("productId,name,unitPrice,currency,stock\nsold-and-seeded,Seeded,450,usd,7\n")
    run("seed", path)
    shop.pay(shop.order(("sold-and-seeded", 4)))

    assert "Loaded 1 of 1 products." in run("seed", path).output
    assert shop.stock("sold-and-seeded") == Stock(stock=3, reserved=0, available=3)

    run("seed", path, "--set-stock")
    assert shop.stock("sold-and-seeded") == Stock(stock=7, reserved=0, available=7)


def test_orders_lists_the_buyers_orders(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(unit_price=1250), 2), user=BUYER)

    result = run("orders", "--limit", 1)

    assert result.exit_code == 0
    for shown in (order, "pending", "25.00 USD", "2 x Green tea"):
        assert shown in result.output


def test_a_name_is_shown_as_it_is_and_a_currency_in_its_own_unit(run: Run, shop: HttpShop) -> None:
    shop.order((shop.add_product(name="[/b] [bold]tag", unit_price=1234, currency="jpy"), 1), user=BUYER)

    result = run("orders", "--limit", 1)

    assert "1 x [/b] [bold]tag" in result.output
    assert "1,234 JPY" in result.output


def test_a_refusal_of_the_api_is_told_in_words(run: Run, monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    description = stack.description()
    monkeypatch.setattr("local.running.find_running_stack", lambda: {**description, "tokens": {"buyer": "expired"}})

    result = run("orders")

    assert isinstance(result.exception, CommandError)
    assert "returned 401. unauthorized: " in str(result.exception)
    assert "Start the stack again" in str(result.exception)


@pytest.mark.parametrize(
    ("card", "code", "shown"),
    [
        ("visa", 0, ["200 OK", "pm_card_visa", "confirmed"]),
        ("chargeDeclined", 1, ["402 Payment Required", "payment_failed", "cancelled"]),
        ("dummy_timeout_after_charge", 0, ["202 Accepted", "pending"]),
    ],
)
def test_pay_pays_with_a_card_by_name(run: Run, shop: HttpShop, card: str, code: int, shown: list[str]) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("pay", order, "--card", card)

    assert result.exit_code == code, result.output
    assert all(text in result.output for text in shown), result.output


def test_pay_of_no_order_says_so(run: Run) -> None:
    result = run("pay", f"ord_{0:032x}")

    assert result.exit_code == 1
    assert "order_not_found" in result.output
    assert "./shop orders" in result.output


def test_pay_of_another_buyers_order_names_the_other_buyer(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("pay", order, "--as", "buyer2")

    assert result.exit_code == 1
    assert "forbidden" in result.output
    assert f"./shop pay {order} --as buyer" in result.output


def test_pay_of_a_settled_order_says_that_it_is_paid_once(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)
    assert run("pay", order).exit_code == 0

    result = run("pay", order)

    assert result.exit_code == 1
    assert "payment_already_attempted" in result.output
    assert "The order is confirmed" in result.output
    assert "Place another one" in result.output


def test_news_of_an_order_that_nobody_paid_says_how_to_pay_it(run: Run, shop: HttpShop) -> None:
    order = shop.order((shop.add_product(), 1), user=BUYER)

    result = run("event", "--order", order)

    assert isinstance(result.exception, CommandError)
    assert f"./shop pay {order}" in str(result.exception)


def test_an_unknown_card_is_answered_with_those_that_there_are(run: Run) -> None:
    result = run("pay", "ord_1", "--card", "gold")

    assert isinstance(result.exception, CommandError)
    assert "chargeDeclinedLostCard" in str(result.exception)


def test_reconcile_tells_what_it_did(run: Run) -> None:
    result = run("reconcile")

    assert result.exit_code == 0
    assert "settled" in result.output


@pytest.mark.parametrize("command", [["orders"], ["pay", "ord_1"], ["reconcile"], ["token"], ["event", "--order", "o"]])
def test_without_a_running_stack_a_command_says_how_to_start_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("local.running.find_running_stack", lambda: None)

    result = run(*command)

    assert isinstance(result.exception, CommandError)
    assert "make run" in str(result.exception)


def test_doctor_looks_at_everything_and_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine() -> None:
        raise CommandError("no container engine responds")

    monkeypatch.setattr("local.sam_local.container_engine.connect", no_engine)
    result = run("doctor")

    assert result.exit_code == 0, result.output
    for what in ("Python", "Disk", "Stack", "Port 3000", "Java", "DynamoDB Local", "Chromium", "Docker or Podman"):
        assert what in result.output
    assert "Start Docker" in result.output


def test_doctor_fails_where_something_is_missing_that_is_needed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.doctor.run_checks", lambda: [doctor.CheckResult("Disk", "0.1 GB free", "Make room")])

    result = run("doctor")

    assert result.exit_code == 1
    assert "Make room" in result.output
