"""Commands that are given something wrong say what, and what to do instead, before anything else happens."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from local import cli
from local.emulator.process import open_aws_client
from local.shop.client import Buyer, suggest_next_step
from local.shop.reconciler import run as run_reconciler
from local.tokens import TokenIssuer

NOBODY = "http://127.0.0.1:9"
DESCRIPTION = {"apiUrl": f"{NOBODY}/v1", "awsEndpointUrl": NOBODY, "stackName": "s", "tokens": {"buyer": "t"}}
ORDER_ID = f"ord_{0:032x}"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack is described as running, at an address where nobody answers."""
    monkeypatch.setattr("local.running.find_running_stack", lambda: DESCRIPTION)


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, arguments)


def refusal(*arguments: str) -> str:
    """The message of a command that fails in words."""
    result = run(*arguments)
    assert isinstance(result.exception, CommandError), result.output
    return str(result.exception)


@pytest.mark.parametrize("command", [["pay"], ["event", "--order"]], ids=["pay", "event"])
@pytest.mark.parametrize("order", ["", "ord_1", "a/b", f"{ORDER_ID}0", ORDER_ID.upper()])
@pytest.mark.usefixtures("running")
def test_what_is_no_orders_id_is_answered_with_where_to_find_one(command: list[str], order: str) -> None:
    said = refusal(*command, order)

    assert said.startswith(repr(order))
    assert "ord_ and 32 hexadecimal digits" in said
    assert said.endswith("./shop orders")


@pytest.mark.parametrize("command", [["orders"], ["pay", ORDER_ID]], ids=["orders", "pay"])
@pytest.mark.parametrize("user", ["king", "seller", "admin", ""])
def test_who_cannot_have_orders_is_answered_with_who_can(command: list[str], user: str) -> None:
    result = run(*command, "--as", user)

    assert result.exit_code == 2
    assert "'buyer'" in result.output
    assert "'buyer2'" in result.output


@pytest.mark.parametrize("roles", ["king", "buyer,king", "Admin"])
def test_a_role_that_there_is_not_is_answered_with_those_that_there_are(roles: str) -> None:
    said = refusal("token", "--roles", roles)

    assert f"Unknown role {roles.split(',')[-1]!r}." in said
    assert "buyer, seller, admin" in said


@pytest.mark.parametrize("seconds", ["99999999999999999", "-99999999999999999", "soon"])
def test_an_expiry_that_is_no_time_is_refused(seconds: str) -> None:
    result = run("token", "--exp", seconds)

    assert result.exit_code == 2
    assert "'--exp'" in result.output


def test_hostile_tokens_can_still_be_made_in_tests() -> None:
    assert TokenIssuer.generate().token("alice", ["king"])


@pytest.mark.parametrize("command", [["orders"], ["pay", ORDER_ID], ["reconcile"]], ids=lambda command: command[0])
@pytest.mark.usefixtures("running")
def test_a_stack_that_has_gone_is_to_be_started_again(command: list[str]) -> None:
    assert refusal(*command).endswith("Start it again: make run")


def test_an_emulator_that_has_gone_is_told_by_whoever_asks_it() -> None:
    with pytest.raises(CommandError, match="make run"):
        run_reconciler(DESCRIPTION)
    with pytest.raises(CommandError, match="make run"), open_aws_client(NOBODY, "sts") as client:
        client.get_caller_identity()


@pytest.mark.usefixtures("running")
def test_a_bad_file_is_told_before_the_stack_is_asked(tmp_path: Path) -> None:
    (tmp_path / "c.csv").touch()

    assert "has no products" in refusal("seed", str(tmp_path / "c.csv"))


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("", "pending", "./shop reconcile"),
        ("order_not_found", None, "./shop orders --as buyer"),
        ("forbidden", None, f"./shop pay {ORDER_ID} --as buyer2"),
        ("unauthorized", None, "make run"),
        ("payment_in_progress", "pending", "./shop orders --as buyer"),
        ("payment_already_attempted", "confirmed", "Place another one"),
        ("payment_failed", "cancelled", "Place another one"),
        ("insufficient_stock", "cancelled", "Place another one"),
        ("payment_provider_error", "pending", "Pay it again"),
        ("busy", None, "Pay it again"),
    ],
)
def test_a_payment_that_did_not_confirm_comes_with_what_to_do(code: str, status: str | None, advice: str) -> None:
    assert advice in (suggest_next_step(ORDER_ID, Buyer.BUYER, code, status) or "")


def test_a_payment_that_confirmed_needs_no_advice() -> None:
    assert suggest_next_step(ORDER_ID, Buyer.BUYER, "", "confirmed") is None


def test_where_the_stack_answers_is_told_in_lines_that_fit_narrow_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stack: Any = type(
        "Stack", (), {"api_url": "http://127.0.0.1:65535/v1", "tokens": ("buyer", "buyer2", "seller", "admin")}
    )
    # Private: only `make run` prints this, and to run it here would start a stack.
    cli._print_addresses(stack, cli.make_console())

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any("functions.log" in line for line in lines)
    first = next(number for number, line in enumerate(lines) if "curl" in line)
    copied = "\n".join(line[11:] for line in lines[first : first + 2])
    assert copied == ('curl -H "Authorization: Bearer $(./shop token)" \\\n  http://127.0.0.1:65535/v1/products')
