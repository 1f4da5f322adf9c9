"""What `sam local` takes from the running stack: the functions' environment, and a door to its DynamoDB."""

from contextlib import closing
from ipaddress import IPv4Network

from local.container_engine import WayIn
from local.dynamodb_door import dynamodb_door
from local.dynamodb_local import client_of
from local.sam_local import logical_id, variables_of
from local.stack import Stack
from tests.support.template import ROOT


def test_the_functions_environment_is_as_it_is_deployed(stack: Stack) -> None:
    variables = variables_of(stack.description(), "http://host.docker.internal:4711")

    assert set(variables) == {logical_id(path.parent.name) for path in ROOT.glob("functions/*/handler.py")}
    assert {of["AWS_ENDPOINT_URL_DYNAMODB"] for of in variables.values()} == {"http://host.docker.internal:4711"}
    assert variables["CreateOrderFunction"]["ORDERS_TABLE"] == stack.deployment.orders_table
    assert variables["InitiatePaymentFunction"]["DUMMY_STRIPE_TABLE"]
    assert variables["AuthorizerFunction"]["JWT_JWKS"] == stack.identity.jwks_json()


def test_the_door_leads_to_the_stacks_tables(stack: Stack) -> None:
    way_in = WayIn("127.0.0.1", IPv4Network("127.0.0.0/8"))
    with (
        dynamodb_door(stack.emulator.endpoint_url, way_in) as port,
        closing(client_of(f"http://127.0.0.1:{port}")) as client,
    ):
        assert stack.deployment.orders_table in client.list_tables()["TableNames"]
