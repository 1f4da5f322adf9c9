"""`template.yaml` agrees with the code."""

import json
import re
from typing import Any

import pytest

from command_line.project import PROJECT
from delivery.rendering import template
from order_payments.api.authorizer_context import to_authorizer_context
from order_payments.api.problems import PROBLEM_TYPE_PREFIX, PROBLEM_TYPES
from order_payments.domain.identity import Caller
from order_payments.domain.orders import TRANSITIONS, OrderStatus
from order_payments.events.event_bus import EVENTBRIDGE_CALL_SECONDS
from order_payments.events.order_events import SOURCE
from order_payments.payments import LEASE
from tests.support.order_stream import (
    cancel,
    cancellation,
    change,
    claim,
    confirmation,
    creation,
    malformed_record,
    place,
    record,
)

RESOURCES: dict[str, Any] = template()["Resources"]
FUNCTIONS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}
GLOBALS: dict[str, Any] = template()["Globals"]["Function"]
TABLES = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::DynamoDB::Table"}
STREAM = RESOURCES["PublishOrderEventsFunctionOrdersStream"]["Properties"]
GATEWAY_RESPONSES = RESOURCES["Api"]["Properties"]["GatewayResponses"]


def test_every_function_folder_is_deployed() -> None:
    folders = {path.name for path in (PROJECT / "functions").iterdir() if (path / "handler.py").is_file()}

    assert folders == {properties["CodeUri"].removeprefix("functions/") for properties in FUNCTIONS.values()}


def test_routes_use_the_authorizer_by_default() -> None:
    auth = RESOURCES["Api"]["Properties"]["Auth"]

    assert auth["DefaultAuthorizer"] in auth["Authorizers"]


def test_lease_is_longer_than_the_payment_functions_timeout() -> None:
    assert LEASE.total_seconds() > FUNCTIONS["InitiatePaymentFunction"]["Timeout"]


def test_authorizer_gets_the_request_and_its_response_is_cached() -> None:
    (authorizer,) = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"].values()

    assert authorizer["FunctionPayloadType"] == "REQUEST"
    assert authorizer["Identity"]["Headers"] == ["Authorization"]
    assert 0 < authorizer["Identity"]["ReauthorizeEvery"] <= 300


@pytest.mark.parametrize("table", TABLES)
def test_table_is_on_demand_encrypted_and_recoverable(table: str) -> None:
    properties = TABLES[table]

    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"]["SSEEnabled"] is True
    assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True


def invokes(pattern: Any, value: Any) -> bool:
    """Return whether a record matches a filter pattern. Supports only the rules that the template uses."""
    if pattern == [{"exists": True}]:
        return value is not None
    if isinstance(pattern, list):
        return value in pattern
    return isinstance(value, dict) and all(invokes(of_name, value.get(name)) for name, of_name in pattern.items())


@pytest.mark.parametrize(
    ("is_published", "record"),
    [
        (True, creation(place())),
        (True, confirmation(place())),
        (True, cancellation(place())),
        (True, record(place(), cancel(place()))),
        (True, malformed_record()),
        (False, record(place(), claim(place()))),
        (False, record(claim(place()), place())),
        (False, record(claim(place()), claim(place()))),
        (False, record(cancel(place()), cancel(place()))),
        (True, record(cancel(place()), change(cancel(place()), refunds_version=1))),
        (False, record(place(), None)),
    ],
    ids=[
        "new",
        "paid",
        "declined",
        "by hand",
        "foreign",
        "claim",
        "void",
        "postponed",
        "unchanged",
        "refund",
        "removal",
    ],
)
def test_only_new_orders_and_status_changes_invoke_the_publisher(is_published: bool, record: dict[str, Any]) -> None:
    filters = [json.loads(each["Pattern"]) for each in STREAM["FilterCriteria"]["Filters"]]

    assert any(invokes(pattern, record) for pattern in filters) is is_published


def test_every_status_transition_invokes_the_publisher() -> None:
    (images,) = (
        pattern["dynamodb"]
        for each in STREAM["FilterCriteria"]["Filters"]
        if "OldImage" in (pattern := json.loads(each["Pattern"])).get("dynamodb", {})
    )

    for status in OrderStatus:
        published = set(images["NewImage"]["status"]["S"]) if status in images["OldImage"]["status"]["S"] else set()
        assert TRANSITIONS[status] == published


def test_rejected_events_reach_the_queue_before_the_stream_drops_them() -> None:
    queue = RESOURCES["OrderEventsDeadLetters"]["Properties"]
    stream_retention_seconds = 24 * 3600

    assert STREAM["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert STREAM["BisectBatchOnFunctionError"] is True
    assert STREAM["MaximumRetryAttempts"] == -1  # retried until the record is too old
    assert 60 <= STREAM["MaximumRecordAgeInSeconds"] <= stream_retention_seconds / 2
    dead_letter_queue = {"Fn::GetAtt": ["OrderEventsDeadLetters", "Arn"]}
    assert STREAM["DestinationConfig"]["OnFailure"] == {"Destination": dead_letter_queue}
    assert queue["SqsManagedSseEnabled"] is True
    assert queue["MessageRetentionPeriod"] >= 7 * 24 * 3600


def test_archive_keeps_published_events() -> None:
    archive = RESOURCES["OrderEventsArchive"]["Properties"]

    assert archive["SourceArn"] == {"Fn::GetAtt": ["OrderEventsBus", "Arn"]}
    assert archive["EventPattern"] == {"source": [SOURCE]}


def test_publisher_timeout_allows_two_slow_eventbridge_calls() -> None:
    assert FUNCTIONS["PublishOrderEventsFunction"]["Timeout"] > 2 * EVENTBRIDGE_CALL_SECONDS


@pytest.mark.parametrize("kind", GATEWAY_RESPONSES)
def test_gateway_responses_have_the_format_of_the_functions(kind: str) -> None:
    response = GATEWAY_RESPONSES[kind]
    problem = json.loads(response["ResponseTemplates"]["application/json"])
    headers = {name: value.strip("'") for name, value in response["ResponseParameters"]["Headers"].items()}

    assert set(problem) == {"type", "title", "status", "detail", "code", "requestId"}
    assert problem["status"] == response["StatusCode"]
    assert problem["type"] == PROBLEM_TYPE_PREFIX + problem["code"]
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["status"] != 429 or int(headers["Retry-After"]) > 0
    readable = {*headers["Access-Control-Expose-Headers"].split(","), "Content-Type"}
    assert {name for name in headers if not name.startswith("Access-Control")} <= readable


@pytest.mark.parametrize(("kind", "code"), [("UNAUTHORIZED", "unauthorized"), ("ACCESS_DENIED", "forbidden")])
def test_gateway_and_functions_refuse_with_the_same_problem(kind: str, code: str) -> None:
    problem = json.loads(GATEWAY_RESPONSES[kind]["ResponseTemplates"]["application/json"])
    (expected,) = (problem_type for problem_type in PROBLEM_TYPES.values() if problem_type.code == code)

    assert (problem["status"], problem["code"], problem["title"]) == (expected.status, expected.code, expected.title)


ACCESS_LOG_FORMAT: str = RESOURCES["Api"]["Properties"]["AccessLogSetting"]["Fn::If"][1]["Format"]
CONTEXT_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+)")


@pytest.mark.parametrize(
    ("user_id", "logged"),
    [
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ('a","status":"200', "a%22,%22status%22:%22200"),
        ("a\\", "a%5C"),
        ("100%22", "100%2522"),
        ("Zo\u00eb", "Zo%C3%AB"),
    ],
)
def test_access_log_is_json_for_any_user_id(user_id: str, logged: str) -> None:
    context = to_authorizer_context(Caller(user_id, frozenset(), 0))
    values = {f"authorizer.{name}": value for name, value in context.items()}

    line = CONTEXT_VARIABLE.sub(lambda variable: values.get(variable[1], "-"), ACCESS_LOG_FORMAT)

    assert json.loads(line)["userId"] == logged
    assert len(json.loads(line)) == line.count('":"')


def test_access_log_has_only_values_without_quotes() -> None:
    assert set(CONTEXT_VARIABLE.findall(ACCESS_LOG_FORMAT)) == {
        *("requestId", "extendedRequestId", "requestTime", "httpMethod", "resourcePath", "status"),
        *("error.responseType", "authorizer.loggedUserId", "identity.sourceIp", "responseLatency"),
        *("integrationLatency", "authorizer.latency", "responseLength"),
    }


@pytest.mark.parametrize("layer", ["StripeSdkLayer", "DummyStripeLayer"])
def test_only_functions_that_call_stripe_have_the_stripe_layers(layer: str) -> None:
    assert {name for name, properties in FUNCTIONS.items() if layer in str(properties.get("Layers"))} == {
        *("InitiatePaymentFunction", "ReconcilePaymentsFunction", "StripeWebhookFunction"),
        *("AuditPaymentsFunction", "RepairPaymentsFunction", "RefundOrderFunction"),
    }


def test_authorizer_has_only_the_common_layer() -> None:
    assert GLOBALS["Layers"] == [{"Ref": "CommonLayer"}]
    assert "Layers" not in FUNCTIONS["AuthorizerFunction"]


@pytest.mark.parametrize(("package", "layer"), [("boto3", "aws_sdk"), ("stripe", "stripe_sdk")])
def test_only_the_sdk_layer_installs_an_sdk(package: str, layer: str) -> None:
    requirements = [*PROJECT.glob("functions/*/requirements.txt"), *PROJECT.glob("layers/*/requirements.txt")]

    assert {file.parent.name for file in requirements if f"\n{package}==" in f"\n{file.read_text()}"} == {layer}


def test_api_gateway_invokes_the_published_version_of_the_authorizer() -> None:
    authorizer = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"]["JwtAuthorizer"]

    assert authorizer["FunctionArn"]["Fn::Sub"].rpartition(":")[2] == GLOBALS["AutoPublishAlias"]
    assert authorizer["DisableFunctionDefaultPermissions"] is True


def test_changed_layer_publishes_its_functions() -> None:
    layers = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Serverless::LayerVersion"]

    assert GLOBALS["AutoPublishAliasAllProperties"] is True
    assert layers
    assert all(layer["PublishLambdaVersion"] is True for layer in layers)


CAPACITY = template()["Mappings"]["Capacity"]
STRIPE_CALLS_PER_PAYMENT = 2


@pytest.mark.parametrize("peak", CAPACITY)
def test_peak_determines_throttles_and_reserved_concurrency(peak: str) -> None:
    level = CAPACITY[peak]
    payments = int(peak)

    assert (level["PaymentRate"], level["PaymentBurst"]) == (payments, payments)
    assert int(level["Reconciled"]) == 0.8 * payments
    assert (level["Rate"], level["Burst"]) == (max(20 * payments, 2000), max(40 * payments, 4000))
    reserved = (level["Payers"], level["Webhooks"], level["Authorizers"])
    seconds = (3, 1, 0.4) if payments > 10 else (0, 0, 0)
    assert reserved == tuple(round(payments * duration) for duration in seconds)


def test_default_peak_stays_within_the_rate_of_a_stripe_sandbox() -> None:
    # https://docs.stripe.com/rate-limits: 25 requests per second over all endpoints.
    payments = int(template()["Parameters"]["PaymentsPerSecond"]["Default"])

    assert STRIPE_CALLS_PER_PAYMENT * CAPACITY[str(payments)]["PaymentRate"] <= 25
    assert STRIPE_CALLS_PER_PAYMENT * int(CAPACITY[str(payments)]["Reconciled"]) <= 25


READS_OF_A_STREAM = [f"dynamodb:{each}" for each in ("DescribeStream", "GetRecords", "GetShardIterator")]


@pytest.mark.parametrize(
    ("resource", "actions"),
    [
        *((TABLES[name], "dynamodb:*") for name in sorted(TABLES.keys() - {"DummyStripeTable"})),
        (TABLES["OrdersTable"]["StreamSpecification"], READS_OF_A_STREAM),
    ],
)
def test_tables_and_stream_deny_access_without_tls(resource: dict[str, Any], actions: str | list[str]) -> None:
    (deny,) = resource["ResourcePolicy"]["PolicyDocument"]["Statement"]

    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", actions)
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
