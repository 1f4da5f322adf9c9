"""Commands refuse invalid arguments at once, with the reason and what to do instead."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from local import cli
from local.emulator.process import open_emulator_client
from local.shop.reconciler import run as run_reconciler
from local.tokens import TokenIssuer

CLOSED_URL = "http://127.0.0.1:9"
ISSUER = TokenIssuer.generate()
DESCRIPTION = {
    "apiUrl": f"{CLOSED_URL}/v1",
    "awsEndpointUrl": CLOSED_URL,
    "stackName": "s",
    "jwks": ISSUER.jwks(),
    "issuer": ISSUER.issuer,
    "audience": ISSUER.audience,
}
ORDER_ID = f"ord_{0:032x}"
COMMANDS = [
    ["products"],
    ["order", "tea:2"],
    ["orders"],
    ["status"],
    ["pay", ORDER_ID],
    ["override", ORDER_ID, "cancelled", "--reason", "Lost."],
    ["reconcile"],
]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Describe a running stack whose address does not respond."""
    ISSUER.save(tmp_path / "signing-key.pem")
    monkeypatch.setattr("local.shop.client.STATE", tmp_path)
    monkeypatch.setattr("local.running.find_running_stack", lambda: DESCRIPTION)


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, arguments)


def error_message(*arguments: str) -> str:
    """Return the error message of a command that fails with a `CommandError`."""
    result = run(*arguments)
    assert isinstance(result.exception, CommandError), result.output
    return str(result.exception)


@pytest.mark.parametrize("command", [["pay"], ["status"], ["event", "--order"]], ids=lambda command: command[0])
@pytest.mark.parametrize("order", ["", "ord_1", "a/b", f"{ORDER_ID}0", ORDER_ID.upper()])
@pytest.mark.usefixtures("running")
def test_malformed_order_id_is_refused_with_where_to_find_one(command: list[str], order: str) -> None:
    message = error_message(*command, order)

    assert message.startswith(repr(order))
    assert "ord_ and 32 hexadecimal digits" in message
    assert message.endswith("./shop orders")


@pytest.mark.parametrize("roles", ["king", "buyer,king", "Admin"])
def test_unknown_role_is_refused_with_the_valid_roles(roles: str) -> None:
    message = error_message("token", "--roles", roles)

    assert f"Unknown role {roles.split(',')[-1]!r}." in message
    assert "buyer, seller, admin" in message


@pytest.mark.parametrize("seconds", ["99999999999999999", "-99999999999999999", "soon"])
def test_invalid_expiry_is_refused(seconds: str) -> None:
    result = run("token", "--exp", seconds)

    assert result.exit_code == 2
    assert "'--exp'" in result.output


def test_token_issuer_accepts_unknown_roles_for_tests() -> None:
    assert TokenIssuer.generate().token("alice", ["king"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.usefixtures("running")
def test_command_without_a_responding_stack_advises_to_start_it(command: list[str]) -> None:
    assert error_message(*command).endswith("Start it again: make run")


def test_call_without_a_responding_emulator_advises_to_start_it() -> None:
    with pytest.raises(CommandError, match="make run"):
        run_reconciler(DESCRIPTION)
    with pytest.raises(CommandError, match="make run"), open_emulator_client(CLOSED_URL, "sts") as client:
        client.get_caller_identity()


@pytest.mark.usefixtures("running")
def test_invalid_file_is_refused_before_the_stack_is_called(tmp_path: Path) -> None:
    (tmp_path / "c.csv").touch()

    assert "has no products" in error_message("seed", str(tmp_path / "c.csv"))


@pytest.mark.parametrize(
    ("is_persistent", "end"),
    [
        (False, "Press Ctrl-C to stop and discard all orders and products."),
        (True, "Orders and products stay in .local/tables.json."),
    ],
)
def test_addresses_of_the_stack_fit_narrow_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_persistent: bool, end: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stack: Any = type(
        "Stack", (), {"api_url": "http://127.0.0.1:65535/v1", "tokens": ("buyer", "buyer2", "seller", "admin")}
    )
    # Private: only `make run` prints this, and to run it here would start a stack.
    cli._print_addresses(stack, cli.make_console(), is_persistent=is_persistent)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any("functions.log" in line for line in lines)
    assert end in lines
    assert any("changed functions/" in line for line in lines)
    first = next(number for number, line in enumerate(lines) if "curl" in line)
    copied_command = "\n".join(line[11:] for line in lines[first : first + 2])
    assert copied_command == (
        'curl -H "Authorization: Bearer $(./shop token)" \\\n  http://127.0.0.1:65535/v1/products'
    )
