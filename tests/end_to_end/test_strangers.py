"""Clients that know only the API's document: schemathesis sends requests that it allows, and requests that it forbids.

`HYPOTHESIS_PROFILE=fuzz` sends many more.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from command_line.project import PROJECT
from local.stack import Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN, ALICE, BOB, User

EXAMPLES_OF_EACH_OPERATION = 110 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 10
AT_LEAST_REQUESTS = 18 * EXAMPLES_OF_EACH_OPERATION

# What a request that has the right form may be answered besides success: the form does not say what exists, whether
# there is enough of it, or what was done before.
MAY_BE_REFUSED = {
    "POST /orders": [422],
    "GET /orders": [422],
    "GET /products": [422],
    "POST /orders/{orderId}/payment": [402, 422],
    "PUT /admin/orders/{orderId}/status": [422],
    "POST /webhooks/stripe": [400],
    "PUT /admin/products/{productId}": [412, 422],  # 4599.0 is an integer to JSON Schema, and none to us
    "POST /admin/products/{productId}/stock-adjustments": [422],  # likewise
}
REFUSALS = ["400", "401", "403", "404", "409", "412", "413", "422"]


def configuration(orders: Iterable[str]) -> str:
    """What schemathesis has to know besides the document: some ids, and what may be refused."""
    words = ["green-tea", "pm_card_visa", "pm_card_visa_chargeDeclined", "usd", "cancelled"]
    refusals = [
        f'[[operations]]\ninclude-name = "{name}"\n'
        f"[operations.checks.positive_data_acceptance]\n"
        f"expected-statuses = {json.dumps(['2xx', '403', '404', '409', *statuses])}\n"
        for name, statuses in MAY_BE_REFUSED.items()
    ]
    return "\n".join(
        [
            f"[dictionaries.orders]\nvalues = {json.dumps(list(orders))}\n",
            f"[dictionaries.words]\nvalues = {json.dumps(words)}\n",
            '[parameters]\n"path.orderId" = { dictionary = "orders", probability = 0.7 }',
            '"path.productId" = { dictionary = "words", probability = 0.3 }\n',
            '[generation.dictionaries]\nstring = { dictionary = "words", probability = 0.3 }\n',
            f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSALS)}\n",
            *refusals,
        ]
    )


@pytest.mark.parametrize("user", [ALICE, ADMIN], ids=lambda user: user.roles[0])
def test_no_request_brings_an_answer_that_the_document_does_not_have(stack: Stack, tmp_path: Path, user: User) -> None:
    with closing(HttpShop(stack)) as shop:
        shop.add_product(product_id="green-tea", stock=1_000_000)
        orders = [shop.order(("green-tea", 1), user=buyer) for buyer in [ALICE] * 40 + [BOB] * 10]
    (tmp_path / "schemathesis.toml").write_text(configuration(orders))
    report = tmp_path / "report.json"

    ran = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", tmp_path / "schemathesis.toml"),
            *("run", PROJECT / "docs" / "openapi.json", "--url", stack.api_url, "--checks", "all"),
            # API Gateway knows no 405: a method that is not there is a route that is not there.
            *("--exclude-checks", "unsupported_method"),
            *("--header", f"Authorization: Bearer {stack.token(user.sub, user.roles)}"),
            *("--max-examples", str(EXAMPLES_OF_EACH_OPERATION), "--seed", "20261123", "--no-color"),
            *("--generation-database", "none", "--report-json-path", report),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-20_000:]
    cases = json.loads(report.read_text())["test_cases"]
    assert (cases["generated"] >= AT_LEAST_REQUESTS, cases["with_failures"], cases["errored"]) == (True, 0, 0)
