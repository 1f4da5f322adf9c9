"""The whole function: its events, log, metrics, cold start and imports."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from order_payments.runtime.metric_names import Count
from tests.support.metrics import metric_lines, metrics_in
from tests.unit.authorizer.conftest import (
    FUNCTION_FOLDER,
    Authorize,
    event_with,
    raises_authorizer_failed,
    raises_unauthorized,
)
from tests.unit.authorizer.issuer import AUDIENCE, ISSUER, Issuer

Log = Callable[[], list[dict[str, Any]]]

# Headers


AUTHORIZATIONS: dict[str, list[str]] = {
    "none": [],
    "empty": [""],
    "scheme only": ["Bearer"],
    "scheme and a space": ["Bearer "],
    "no scheme": ["{token}"],
    "another scheme": ["Basic {token}"],
    "a scheme that starts with Bearer": ["BearerX {token}"],
    "no space": ["Bearer{token}"],
    "a colon": ["Bearer: {token}"],
    "a tab": ["Bearer\t{token}"],
    "a space before": [" Bearer {token}"],
    "in quotes": ['Bearer "{token}"'],
    "as a parameter": ["Bearer token={token}"],
    "a token and a word": ["Bearer {token} {token}"],
    "two in one": ["Bearer {token}, Bearer {token}"],
    "two": ["Bearer {token}", "Bearer {other}"],
    "two identical": ["Bearer {token}", "Bearer {token}"],
    "two schemes": ["Basic YTpi", "Bearer {token}"],
}


@pytest.mark.parametrize("values", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS.keys())
def test_request_without_exactly_one_bearer_token_is_unauthorized(
    authorize: Authorize, issuer: Issuer, values: list[str]
) -> None:
    token, other = issuer.token(), issuer.token({"sub": "bob"})

    with raises_unauthorized():
        authorize(event_with(*(value.format(token=token, other=other) for value in values)))


def test_header_in_two_spellings_is_unauthorized(authorize: Authorize, issuer: Issuer) -> None:
    headers = {name: f"Bearer {issuer.token()}" for name in ("Authorization", "authorization")}

    with raises_unauthorized():
        authorize({**event_with(), "headers": headers, "multiValueHeaders": None})


def test_header_with_two_different_values_is_unauthorized(authorize: Authorize, issuer: Issuer) -> None:
    event = event_with(f"Bearer {issuer.token()}")
    event["headers"] = {"Authorization": f"Bearer {issuer.token({'sub': 'bob'})}"}

    with raises_unauthorized():
        authorize(event)


# Events


HEADERLESS_EVENTS: dict[str, dict[str, Any]] = {
    "empty": {},
    "no headers": {**event_with(), "headers": None, "multiValueHeaders": None},
    "many headers in a string": {**event_with(), "multiValueHeaders": {"Authorization": "Bearer x"}},
}


@pytest.mark.parametrize("event", HEADERLESS_EVENTS.values(), ids=HEADERLESS_EVENTS.keys())
def test_event_without_usable_header_is_unauthorized(authorize: Authorize, event: dict[str, Any]) -> None:
    with raises_unauthorized():
        authorize(event)


MALFORMED_EVENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda _: None,
    "a string": lambda _: "event",
    "an array": lambda event: [event],
    "headers in an array": lambda event: {**event, "headers": [["Authorization", "Bearer x"]]},
    "a header that is null": lambda event: {**event, "headers": {"Authorization": None}, "multiValueHeaders": None},
    "a header in an object": lambda event: {**event, "headers": {"Authorization": {}}, "multiValueHeaders": None},
    "a request context that is a string": lambda event: {**event, "requestContext": "x"},
    "no methodArn": lambda event: {name: value for name, value in event.items() if name != "methodArn"},
    "a methodArn that is null": lambda event: {**event, "methodArn": None},
    "a methodArn that is a wildcard": lambda event: {**event, "methodArn": "*"},
}


@pytest.mark.parametrize("change", MALFORMED_EVENTS.values(), ids=MALFORMED_EVENTS.keys())
def test_malformed_event_is_a_500_and_its_token_is_not_logged(
    authorize: Authorize,
    issuer: Issuer,
    change: Callable[[dict[str, Any]], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = issuer.token()

    with raises_authorizer_failed():
        authorize(change(event_with(f"Bearer {token}")))

    written = "".join(capsys.readouterr())
    assert not [part for part in token.split(".") if part in written]


def test_event_without_request_id_is_accepted(authorize: Authorize, issuer: Issuer) -> None:
    event = {**event_with(f"Bearer {issuer.token()}"), "requestContext": {}}

    assert authorize(event)["principalId"] == "alice"


# The log


def test_allowed_request_logs_one_line_with_the_user_id(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    authorize(event_with(f"Bearer {issuer.token()}"))

    (line,) = log()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "INFO",
        "message": "token accepted",
        "service": "order-payments",
        "userId": "alice",
        "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
    }


def test_refused_request_logs_one_line_with_the_reason(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token({'exp': 1})}"))

    (line,) = log()
    assert (line["level"], line["message"], line["reason"]) == ("INFO", "token refused", "expired")


def test_unknown_key_id_is_truncated_in_the_log(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token(header={'kid': 'k' * 1000})}"))

    assert log()[0]["kid"] == "k" * 64


def test_line_break_in_a_key_id_does_not_add_a_log_line(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token(header={'kid': chr(10).join('ab')})}"))

    assert len(log()) == 1


def test_unexpected_error_is_logged_with_its_file_and_line(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    with raises_authorizer_failed():
        authorize({**event_with(f"Bearer {issuer.token()}"), "methodArn": "*"})

    (line,) = log()
    assert (line["level"], line["reason"]) == ("ERROR", "unexpected_error")
    assert re.fullmatch(r"ValueError in .*/iam_policy\.py:[0-9]+", line["error"])


def test_token_of_an_allowed_request_is_not_logged(
    authorize: Authorize, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    token = issuer.token()

    authorize(event_with(f"Bearer {token}"))

    written = "".join(capsys.readouterr())
    assert not [part for part in token.split(".") if part in written]


def test_lambdas_request_id_is_logged(authorize: Authorize, issuer: Issuer, log: Log) -> None:
    context = SimpleNamespace(aws_request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd")

    authorize(event_with(f"Bearer {issuer.token()}"), context)

    assert log()[0]["function_request_id"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"


# Metrics


def test_unexpected_error_is_counted_as_an_internal_error(
    authorize: Authorize, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    with raises_authorizer_failed():
        authorize({**event_with(f"Bearer {issuer.token()}"), "methodArn": None})

    output = capsys.readouterr().out
    assert metrics_in(output) == {Count.AUTHORIZER_FAILED: [1.0], Count.INTERNAL_ERROR: [1.0]}
    (line,) = metric_lines(output)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_refused_token_writes_no_metric(
    authorize: Authorize, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token({'exp': 1})}"))

    assert metric_lines(capsys.readouterr().out) == []


# The cold start, in a separate process, with the function's folder as its root as on Lambda


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    layer = FUNCTION_FOLDER.parents[1] / "layers" / "common"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=FUNCTION_FOLDER,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(layer), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_function_starts_as_on_lambda(issuer: Issuer) -> None:
    environment = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWT_JWKS": json.dumps(issuer.jwks)}
    code = f"import json, handler; print(json.dumps(handler.handler({event_with(f'Bearer {issuer.token()}')!r}, None)))"

    response = json.loads(run(code, **environment).stdout.splitlines()[-1])

    assert response["principalId"] == "alice"


INVALID_ENVIRONMENTS = {
    "nothing": {},
    "no issuer": {"JWT_AUDIENCE": "a", "JWT_JWKS_URL": "https://issuer.example/secret-path"},
    "no audience": {"JWT_ISSUER": "i", "JWT_JWKS_URL": "https://issuer.example/secret-path"},
    "no keys": {"JWT_ISSUER": "i", "JWT_AUDIENCE": "a"},
    "keys twice": {"JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_JWKS": "secret", "JWT_JWKS_URL": "https://secret"},
    "keys that do not parse": {"JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_JWKS": "secret"},
    "keys over plain http": {"JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_JWKS_URL": "http://secret.example"},
}


@pytest.mark.parametrize("environment", INVALID_ENVIRONMENTS.values(), ids=INVALID_ENVIRONMENTS.keys())
def test_invalid_setting_stops_the_start_and_names_the_variable(environment: dict[str, str]) -> None:
    started = run("import handler", POWERTOOLS_METRICS_NAMESPACE="my-stack", **environment)

    assert started.returncode == 1
    assert metrics_in(started.stdout) == {Count.AUTHORIZER_FAILED: [1.0], Count.INTERNAL_ERROR: [1.0]}
    assert metric_lines(started.stdout)[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "my-stack"
    name, _, message = started.stderr.splitlines()[-1].partition(": ")
    assert name == "order_payments.runtime.settings.InvalidSettings"
    assert message.startswith(("JWT_", "exactly one of JWT_"))
    assert "secret" not in started.stderr


def test_failed_import_at_start_is_counted() -> None:
    output = run("import sys; sys.modules['jwt'] = None; import handler").stdout

    assert metrics_in(output) == {Count.AUTHORIZER_FAILED: [1.0], Count.INTERNAL_ERROR: [1.0]}


def test_cold_start_does_not_import_libraries_of_other_functions() -> None:
    environment = {"JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_JWKS_URL": "https://issuer.example/jwks"}
    others = {"boto3", "botocore", "pydantic", "aws_lambda_powertools", "aws_xray_sdk", "stripe"}
    code = f"import sys, handler; print({others!r} & set(sys.modules))"

    assert run(code, **environment).stdout == "set()\n"
