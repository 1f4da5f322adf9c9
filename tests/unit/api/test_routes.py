"""Each route in `api/routes.py` has a template event, a handler and a README row."""

import re
from pathlib import Path
from typing import Any

import pytest

from command_line.project import PROJECT
from delivery.rendering import template
from harness.functions import load_function
from order_payments.api.routes import ANY_USER, ROUTES, STRIPE, Route
from order_payments.domain.identity import Role

FUNCTIONS: dict[str, Any] = {
    Path(resource["Properties"]["CodeUri"]).name: resource["Properties"]
    for resource in template()["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
}
EVENTS = [
    (function, event["Properties"])
    for function, properties in FUNCTIONS.items()
    for event in properties.get("Events", {}).values()
    if event["Type"] == "Api"
]
README_ROW = re.compile(r"^\| \[?`([A-Z]+ /\S*)`(?:\]\([^)]+\))? \| ([^|]+) \|", re.MULTILINE)

for_each_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)


@for_each_route
def test_template_has_an_event_with_an_authorizer_for_the_route(route: Route) -> None:
    event = next((event for function, event in EVENTS if function == route.function), None)

    assert event, f"template.yaml has no function with CodeUri functions/{route.function} and an event of type Api"
    assert (event["Method"], event["Path"]) == (route.method, route.path)
    assert event.get("Auth") == (None if route.needs_token else {"Authorizer": "NONE"})


def test_every_event_of_the_template_has_a_route() -> None:
    missing = {(function, event["Method"], event["Path"]) for function, event in EVENTS} - {r[:3] for r in ROUTES}

    assert not missing, "these events of template.yaml have no line in api/routes.py"


@pytest.mark.usefixtures("dynamodb")
@for_each_route
def test_handler_serves_the_route(route: Route) -> None:
    path = PROJECT / "functions" / route.function / "handler.py"
    assert path.is_file(), f"functions/{route.function} has no handler.py"

    assert load_function(route.function).api.serves == route


def test_readme_has_a_row_for_every_route_with_its_callers() -> None:
    rows = dict(README_ROW.findall((PROJECT / "README.md").read_text()))

    missing = {f"{route.method} {route.path}" for route in ROUTES} ^ rows.keys()
    assert not missing, "the README's table and api/routes.py differ in these routes"
    for route in ROUTES:
        callers = rows[f"{route.method} {route.path}"]
        if route.callers is ANY_USER:
            assert callers == "every signed-in user"
        elif route.callers is STRIPE:
            assert callers == "Stripe"
        else:
            assert {role for role in Role if re.search(rf"\b{role}\b", callers)} == route.callers
