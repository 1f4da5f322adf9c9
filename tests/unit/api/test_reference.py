"""`docs/api.md` describes every route and every error code."""

import json
import re

from command_line.project import PROJECT
from delivery.rendering import template
from order_payments.api.problems import INTERNAL_ERROR, NOT_FOUND, PROBLEM_TYPES
from order_payments.api.routes import ROUTES

REFERENCE = (PROJECT / "docs" / "api.md").read_text()


def test_reference_has_a_section_for_every_route() -> None:
    sections = set(re.findall(r"^### `([A-Z]+ /\S*)`$", REFERENCE, re.MULTILINE))

    assert sections == {f"{route.method} {route.path}" for route in ROUTES}


def test_reference_lists_every_error_code_with_its_status() -> None:
    section = REFERENCE.partition("## Error codes\n")[2].partition("\n## ")[0]
    listed = {
        (code, int(status))
        for codes, status in re.findall(r"^\| (`[^|]+) \| (\d+) \|", section, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    gateway = (
        json.loads(response["ResponseTemplates"]["application/json"])
        for response in template()["Resources"]["Api"]["Properties"]["GatewayResponses"].values()
    )

    assert listed == {
        *((problem.code, problem.status) for problem in (*PROBLEM_TYPES.values(), INTERNAL_ERROR, NOT_FOUND)),
        *((problem["code"], problem["status"]) for problem in gateway),
    }
