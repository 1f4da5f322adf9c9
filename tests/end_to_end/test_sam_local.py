"""`sam local` uses the running stack: the functions' environment, and a proxy to DynamoDB and EventBridge."""

from contextlib import closing
from ipaddress import IPv4Network

import pytest
from botocore.exceptions import ClientError

from command_line.project import PROJECT
from harness.dynamodb_local import client_of
from local.emulator.process import make_client
from local.sam_local.container_engine import ContainerAccess
from local.sam_local.dynamodb_proxy import serve_dynamodb_proxy
from local.sam_local.sam import logical_id, read_function_variables
from local.stack import Stack


def test_function_environment_matches_the_deployment(stack: Stack) -> None:
    variables = read_function_variables(stack.description(), "http://host.docker.internal:4711")

    assert set(variables) == {logical_id(path.parent.name) for path in PROJECT.glob("functions/*/handler.py")}
    assert {of["AWS_ENDPOINT_URL_DYNAMODB"] for of in variables.values()} == {"http://host.docker.internal:4711"}
    assert variables["PublishOrderEventsFunction"]["AWS_ENDPOINT_URL_EVENTBRIDGE"] == "http://host.docker.internal:4711"
    assert variables["CreateOrderFunction"]["ORDERS_TABLE"] == stack.deployment.orders_table
    assert variables["InitiatePaymentFunction"]["DUMMY_STRIPE_TABLE"]
    assert variables["AuthorizerFunction"]["JWT_JWKS"] == stack.identity.jwks_json()


def test_proxy_reaches_the_stacks_tables(stack: Stack) -> None:
    access = ContainerAccess("127.0.0.1", IPv4Network("127.0.0.0/8"))
    with (
        serve_dynamodb_proxy(stack.emulator.endpoint_url, access) as port,
        closing(client_of(f"http://127.0.0.1:{port}")) as client,
    ):
        assert stack.deployment.orders_table in client.list_tables()["TableNames"]


def test_proxy_allows_only_put_events_on_event_buses(stack: Stack) -> None:
    access = ContainerAccess("127.0.0.1", IPv4Network("127.0.0.0/8"))
    entry = {"EventBusName": "order-payments-order-events", "Source": "tests", "DetailType": "t", "Detail": "{}"}
    with (
        serve_dynamodb_proxy(stack.emulator.endpoint_url, access) as port,
        closing(make_client(f"http://127.0.0.1:{port}", "events")) as client,
    ):
        assert client.put_events(Entries=[entry])["FailedEntryCount"] == 0
        with pytest.raises(ClientError, match="403"):
            client.list_event_buses()
