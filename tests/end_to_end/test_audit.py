"""Audit and repair with the deployed state machine and the command line."""

import pytest
from typer.testing import CliRunner

from local.stack import Stack
from operations import cli
from tests.support.http_shop import HttpShop
from tests.support.shop import Stock


def run_command(stack: Stack, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr("local.running.find_running_stack", stack.description)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [*arguments, "--look-again", "0"])
    assert not isinstance(result.exception, Exception), result.exception
    return result.exit_code, result.output


def test_audit_finds_leaked_hold_and_repair_releases_it(
    stack: Stack, shop: HttpShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = shop.add_product(stock=9)
    shop.pay(shop.order((product, 2)), "pm_card_visa")
    shop.dynamodb.update_item(
        TableName=shop.products_table,
        Key={"productId": {"S": product}},
        UpdateExpression="SET available = :available",
        ExpressionAttributeValues={":available": {"N": "4"}},
    )

    code, output = run_command(stack, monkeypatch, "audit")
    assert code == 1
    assert f"{product} (holds_differ): 3 held" in output

    code, output = run_command(stack, monkeypatch, "repair", "--yes")
    assert f"Set available of {product} from 4 to 7" in output
    assert shop.stock(product) == Stock(7, 0, 7)

    _, output = run_command(stack, monkeypatch, "audit")
    assert product not in output
