"""Alarms and the dashboard cover every function, and use only existing metrics."""

import json
from functools import cache
from typing import Any

import pytest

from delivery.rendering import Rendering, template
from order_payments.runtime.observability import Count, Gauge, Latency

OWN_NAMESPACE = {"Ref": "AWS::StackName"}
OWN_METRICS = {*Count, *Gauge, *Latency}
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in template()["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}


def functions_of_routes() -> set[str]:
    return {
        name
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
        and any(event["Type"] == "Api" for event in resource["Properties"].get("Events", {}).values())
    }


def functions_with_alarm_on(metric: str) -> set[str]:
    return {
        dimension["Value"]["Ref"]
        for alarm in ALARMS.values()
        if (alarm.get("Namespace"), alarm.get("MetricName")) == ("AWS/Lambda", metric)
        for dimension in alarm["Dimensions"]
    }


@cache
def dashboard(alarm_on_silence: str) -> tuple[list[dict[str, Any]], Rendering]:
    """Return the widgets of production's dashboard, with references as `${Name}`, and the rendering."""
    rendering = Rendering.of_environment("production", AlarmOnSilence=alarm_on_silence)
    (properties,) = rendering.of_type("AWS::CloudWatch::Dashboard").values()
    body, variables = properties["DashboardBody"]["Fn::Sub"]
    for name, value in variables.items():
        body = body.replace(f"${{{name}}}", value if isinstance(value, str) else value["Fn::Sub"])
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets, rendering


@pytest.mark.parametrize(
    ("metric", "others"),
    [
        ("Errors", {"ReconcilePaymentsFunction", "PublishOrderEventsFunction"}),
        ("Throttles", {"AuthorizerFunction", "PublishOrderEventsFunction"}),
    ],
)
def test_each_function_of_a_route_has_alarms(metric: str, others: set[str]) -> None:
    assert functions_with_alarm_on(metric) == functions_of_routes() | others


def test_alarms_watch_only_metrics_that_the_code_writes() -> None:
    watched = {alarm["MetricName"] for alarm in ALARMS.values() if alarm.get("Namespace") == OWN_NAMESPACE}

    assert watched
    assert watched <= OWN_METRICS


def test_dashboard_shows_only_metrics_that_the_code_writes() -> None:
    widgets, _ = dashboard("on")
    shown = {
        metric[1]
        for widget in widgets
        for metric in widget["properties"].get("metrics", [])
        if metric[0] == "${AWS::StackName}"
    }

    assert len(shown) > 10
    assert shown <= OWN_METRICS


@pytest.mark.parametrize("alarm_on_silence", ["on", "off"])
def test_dashboard_shows_every_alarm(alarm_on_silence: str) -> None:
    widgets, rendering = dashboard(alarm_on_silence)
    (shown,) = (widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm")

    assert len(shown) == len(set(shown))
    assert set(shown) == {f"${{{name}.Arn}}" for name in rendering.of_type("AWS::CloudWatch::Alarm")}


@pytest.mark.parametrize(
    ("placed", "called", "fires"), [(3, None, True), (3, 0, True), (3, 5, False), (None, 2, False), (None, None, False)]
)
def test_alarm_fires_if_orders_are_placed_but_not_published(
    placed: int | None, called: int | None, fires: bool
) -> None:
    alarm = ALARMS["PublisherSilentAlarm"]
    (expression,) = (metric["Expression"] for metric in alarm["Metrics"] if metric["ReturnData"])
    functions = {
        "IF": lambda condition, if_true, if_false: if_true if condition else if_false,
        "FILL": lambda values, default: default if values is None else values,
    }

    value = eval(expression.replace("AND", "and"), functions, {"placed": placed, "called": called})  # noqa: S307

    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert (value > alarm["Threshold"]) is fires
