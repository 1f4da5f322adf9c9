"""The authorizer as on Lambda: its folder is on the path, and its settings come from the environment."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.authorizer.issuer import AUDIENCE, ISSUER, Issuer, KeyServer, run_key_server

FUNCTION_FOLDER = Path(__file__).parents[3] / "functions" / "authorizer"

# The modules beside the handler are top-level modules, because the folder is the root of the function's task.
sys.path.insert(0, str(FUNCTION_FOLDER))

METHOD_ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/GET/orders"

Authorize = Callable[..., dict[str, Any]]
Start = Callable[..., Authorize]


def event_with(*authorizations: str) -> dict[str, Any]:
    """Return API Gateway's event of a request with these `Authorization` headers."""
    headers = {"Accept": ["application/json"]} | ({"Authorization": [*authorizations]} if authorizations else {})
    return {
        "type": "REQUEST",
        "methodArn": METHOD_ARN,
        "resource": "/orders",
        "path": "/orders",
        "httpMethod": "GET",
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": None,
        "requestContext": {"stage": "v1", "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "apiId": "a1b2c3d4e5"},
    }


@contextmanager
def raises_unauthorized() -> Iterator[None]:
    """Expect exactly the exception that API Gateway turns into a 401."""
    with pytest.raises(Exception, match=r"\AUnauthorized\Z") as raised:
        yield
    assert type(raised.value) is Exception
    assert raised.value.__context__ is None


@contextmanager
def raises_authorizer_failed() -> Iterator[None]:
    """Expect an exception that API Gateway turns into a 500."""
    with pytest.raises(Exception, match=r"\A(no keys|unexpected error)\Z") as raised:
        yield
    assert type(raised.value).__name__ == "AuthorizerFailed"
    assert raised.value.__context__ is None


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer.create()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with run_key_server() as server:
        yield server


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that loads the handler module with the given environment variables."""

    def start(**environment: str) -> Authorize:
        for name in [name for name in os.environ if name.startswith("JWT_")]:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, **environment}.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("authorizer_handler", FUNCTION_FOLDER / "handler.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return lambda event, context=None: module.handler(event, context)

    return start


@pytest.fixture
def authorize(start: Start, issuer: Issuer) -> Authorize:
    """Return the handler, with the issuer's keys in its environment."""
    return start(JWT_JWKS=json.dumps(issuer.jwks))


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the new log lines, without metrics."""
    return lambda: [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" not in line]
