"""Fuzz tests of the API: schemathesis generates valid and invalid requests from the OpenAPI document.

`make fuzz` generates many more, and adds the edge cases of each parameter and sequences of requests.
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

IS_LONG_RUN = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
EXAMPLES_PER_OPERATION = 110 if IS_LONG_RUN else 10
PHASES = "examples,coverage,fuzzing,stateful" if IS_LONG_RUN else "fuzzing"
MIN_REQUESTS = (18 if IS_LONG_RUN else 8) * EXAMPLES_PER_OPERATION

# Error statuses that a request with a valid form may get: the schema does not describe what exists, the stock, or
# earlier requests.
REFUSALS_OF_VALID_REQUESTS = {
    "POST /orders": [422],
    "GET /orders": [422],
    "GET /admin/orders": [422],
    "GET /products": [422],
    "POST /orders/{orderId}/payment": [402, 422],
    "PUT /admin/orders/{orderId}/status": [422],
    "POST /admin/orders/{orderId}/refunds": [422],
    "POST /webhooks/stripe": [400],
    "PUT /admin/products/{productId}": [412, 422],  # JSON Schema accepts 4599.0 as an integer, the API does not
    "POST /admin/products/{productId}/stock-adjustments": [422],  # the same
}
REFUSALS_OF_INVALID_REQUESTS = ["400", "401", "403", "404", "409", "412", "413", "422"]


def make_configuration(orders: Iterable[str]) -> str:
    """Return the configuration of schemathesis: existing ids and the expected error statuses."""
    words = ["green-tea", "pm_card_visa", "pm_card_visa_chargeDeclined", "usd", "cancelled"]
    refusals = [
        f'[[operations]]\ninclude-name = "{name}"\n'
        f"[operations.checks.positive_data_acceptance]\n"
        f"expected-statuses = {json.dumps(['2xx', '403', '404', '409', *statuses])}\n"
        for name, statuses in REFUSALS_OF_VALID_REQUESTS.items()
    ]
    return "\n".join(
        [
            f"[dictionaries.orders]\nvalues = {json.dumps(list(orders))}\n",
            f"[dictionaries.words]\nvalues = {json.dumps(words)}\n",
            '[parameters]\n"path.orderId" = { dictionary = "orders", probability = 0.7 }',
            '"path.productId" = { dictionary = "words", probability = 0.3 }\n',
            '[generation.dictionaries]\nstring = { dictionary = "words", probability = 0.3 }\n',
            f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSALS_OF_INVALID_REQUESTS)}\n",
            *refusals,
        ]
    )


@pytest.mark.parametrize("user", [ALICE, ADMIN], ids=lambda user: user.roles[0])
def test_every_response_matches_the_openapi_document(stack: Stack, tmp_path: Path, user: User) -> None:
    with closing(HttpShop(stack)) as shop:
        shop.add_product(product_id="green-tea", stock=1_000_000)
        orders = [shop.order(("green-tea", 1), user=buyer) for buyer in [ALICE] * 40 + [BOB] * 10]
    (tmp_path / "schemathesis.toml").write_text(make_configuration(orders))
    report = tmp_path / "report.json"

    process = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", tmp_path / "schemathesis.toml"),
            *("run", PROJECT / "docs" / "openapi.json", "--url", stack.api_url, "--checks", "all"),
            *("--phases", PHASES),
            # API Gateway has no 405: an unknown method is an unknown route.
            *("--exclude-checks", "unsupported_method"),
            *("--header", f"Authorization: Bearer {stack.token(user.sub, user.roles)}"),
            *("--max-examples", str(EXAMPLES_PER_OPERATION), "--seed", "20261123", "--no-color"),
            *("--generation-database", "none", "--report-json-path", report),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stdout[-20_000:]
    cases = json.loads(report.read_text())["test_cases"]
    assert (cases["generated"] >= MIN_REQUESTS, cases["with_failures"], cases["errored"]) == (True, 0, 0)
