"""What `template.yaml` promises, and that the code keeps it."""

import json
from typing import Any

import pytest

from order_payments.api import ANSWERS, PROBLEM_TYPE_PREFIX
from order_payments.payments import LEASE
from tests.support.function_shop import routes
from tests.support.lambda_functions import load_function
from tests.support.template import ROOT, template

RESOURCES: dict[str, Any] = template()["Resources"]
FUNCTIONS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}
GLOBALS: dict[str, Any] = template()["Globals"]["Function"]
TABLES = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::DynamoDB::Table"}
GATEWAY_RESPONSES = RESOURCES["Api"]["Properties"]["GatewayResponses"]


def test_every_function_folder_is_deployed() -> None:
    folders = {path.name for path in (ROOT / "functions").iterdir() if (path / "handler.py").is_file()}

    assert folders == {properties["CodeUri"].removeprefix("functions/") for properties in FUNCTIONS.values()}


def test_every_route_but_the_webhooks_has_the_authorizer() -> None:
    auth = RESOURCES["Api"]["Properties"]["Auth"]
    without = {
        event["Properties"]["Path"]
        for properties in FUNCTIONS.values()
        for event in properties.get("Events", {}).values()
        if event["Properties"].get("Auth", {}).get("Authorizer") == "NONE"
    }

    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    assert without == {"/webhooks/stripe"}


def test_an_attempt_is_its_payers_alone_for_longer_than_the_paying_function_runs() -> None:
    assert LEASE.total_seconds() > FUNCTIONS["InitiatePaymentFunction"]["Timeout"]


def test_the_authorizer_sees_the_whole_request_and_its_answer_is_kept_for_a_bounded_time() -> None:
    (authorizer,) = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"].values()

    assert authorizer["FunctionPayloadType"] == "REQUEST"
    assert authorizer["Identity"]["Headers"] == ["Authorization"]
    assert 0 < authorizer["Identity"]["ReauthorizeEvery"] <= 300


@pytest.mark.usefixtures("dynamodb")
@pytest.mark.parametrize(("route", "folder"), routes().items())
def test_a_function_serves_the_route_that_the_template_gives_it(route: tuple[str, str], folder: str) -> None:
    method, path = route
    (served,) = load_function(folder).api._static_routes + load_function(folder).api._dynamic_routes

    assert served.method == method
    assert served.path.replace("<order_id>", "{orderId}").replace("<product_id>", "{productId}") == path


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_on_demand_encrypted_and_recoverable(table: str) -> None:
    properties = TABLES[table]

    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"]["SSEEnabled"] is True
    assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True


@pytest.mark.parametrize("kind", GATEWAY_RESPONSES)
def test_the_gateways_own_answers_have_the_form_of_ours(kind: str) -> None:
    response = GATEWAY_RESPONSES[kind]
    problem = json.loads(response["ResponseTemplates"]["application/json"])

    assert set(problem) == {"type", "title", "status", "detail", "code", "requestId"}
    assert problem["status"] == response["StatusCode"]
    assert problem["type"] == PROBLEM_TYPE_PREFIX + problem["code"]
    assert response["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"


@pytest.mark.parametrize(("kind", "code"), [("UNAUTHORIZED", "unauthorized"), ("ACCESS_DENIED", "forbidden")])
def test_the_gateway_and_the_functions_tell_the_same_refusal_alike(kind: str, code: str) -> None:
    problem = json.loads(GATEWAY_RESPONSES[kind]["ResponseTemplates"]["application/json"])
    (ours,) = (answer for answer in ANSWERS.values() if answer.code == code)

    assert (problem["status"], problem["code"], problem["title"]) == (ours.status, ours.code, ours.title)


def test_only_the_functions_that_talk_to_stripe_carry_its_sdk() -> None:
    with_stripe = {
        path.parent.name
        for path in [*ROOT.glob("functions/*/requirements.txt"), *ROOT.glob("layers/*/requirements.txt")]
        if "\nstripe==" in path.read_text()
    }

    assert with_stripe == {"initiate_payment", "reconcile_payments", "stripe_webhook"}


def test_the_authorizer_carries_no_boto3() -> None:
    properties = FUNCTIONS["AuthorizerFunction"]
    layers = [*template()["Globals"]["Function"]["Layers"], *properties.get("Layers", [])]

    carried = [ROOT / properties["CodeUri"]] + [
        ROOT / RESOURCES[layer["Ref"]]["Properties"]["ContentUri"] for layer in layers
    ]
    assert not [path for path in carried if "\nboto3==" in (path / "requirements.txt").read_text()]


def test_api_gateway_and_schedules_call_a_published_version() -> None:
    assert GLOBALS["AutoPublishAlias"] == "live"
    assert GLOBALS["SnapStart"] == {"ApplyOn": {"Fn::If": ["UseSnapStart", "PublishedVersions", "None"]}}


def test_the_authorizer_is_called_as_published_too() -> None:
    authorizer = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"]["JwtAuthorizer"]

    assert authorizer["FunctionArn"] == {"Fn::Sub": f"${{AuthorizerFunction.Arn}}:{GLOBALS['AutoPublishAlias']}"}
    assert authorizer["DisableFunctionDefaultPermissions"] is True
    assert RESOURCES["AuthorizerPermission"]["Properties"]["FunctionName"] == {"Ref": "AuthorizerFunction.Alias"}


def test_a_release_publishes_every_function() -> None:
    assert [properties["AutoPublishCodeSha256"] for properties in FUNCTIONS.values()] == [{"Ref": "Release"}] * len(
        FUNCTIONS
    )


def test_a_change_of_a_layer_publishes_the_functions_on_it() -> None:
    layers = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Serverless::LayerVersion"]

    assert GLOBALS["AutoPublishAliasAllProperties"] is True
    assert layers
    assert all(layer["PublishLambdaVersion"] is True for layer in layers)
