"""What CloudFormation makes of `template.yaml`: by both sides of every condition, and in every environment there is."""

import json
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from delivery.rendering import REGION, SECRET, WANTED, Rendering, template

OPENID = {"JwtIssuer": "https://id.example/", "JwtAudience": "shop", "JwtJwksUrl": "https://id.example/jwks"}
LEAST = {"StripeSecretKey": "sk_test_dummy", **OPENID}
"""What has to be given where nothing else is."""

BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
OWN_KEY = {"StripeSecretKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1"}
SIDES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "UseDummyStripe": ({"StripeBackend": "dummy"}, {"StripeBackend": "api"}),
    "FetchSecret": ({**SECRET, "StripeSecretKey": ""}, {}),
    "DecryptSecret": ({**SECRET, "StripeSecretKey": "", **OWN_KEY}, {**SECRET, "StripeSecretKey": ""}),
    "UseSnapStart": ({"SnapStart": "on"}, {"SnapStart": "off"}),
    "ArchiveEvents": ({"EventArchiveDays": "1"}, {"EventArchiveDays": "0"}),
    "UseCognito": ({"IdentityProvider": "cognito", **dict.fromkeys(OPENID, "")}, {"IdentityProvider": "openid"}),
    "ReserveConcurrency": ({"PaymentsPerSecond": "100"}, {"PaymentsPerSecond": "10"}),
    "LimitCallers": ({"PaymentsPerCaller": "10"}, {"PaymentsPerCaller": "0"}),
    "ProtectTables": ({"DeletionProtection": "on"}, {"DeletionProtection": "off"}),
    "LogAccess": ({"AccessLogs": "on"}, {"AccessLogs": "off"}),
    "SetUpAccessLogs": ({"AccessLogs": "on-and-set-up-account"}, {"AccessLogs": "on"}),
    "BoundRoles": ({"PermissionsBoundaryArn": BOUNDARY}, {}),
    "RollGradually": ({"GradualDeployment": "true"}, {"GradualDeployment": "false"}),
    "NotifyOfAlarms": ({"AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms"}, {}),
    "WatchForSilence": ({"AlarmOnSilence": "on"}, {"AlarmOnSilence": "off"}),
}
"""By condition, parameters under which it holds and others, as like them as can be, under which it does not."""


def rendered_on_both_sides(condition: str) -> tuple[Rendering, Rendering]:
    with_it, without = SIDES[condition]
    return Rendering({**LEAST, **with_it}), Rendering({**LEAST, **without})


def test_every_condition_is_rendered() -> None:
    assert SIDES.keys() == template()["Conditions"].keys()


@pytest.mark.parametrize("condition", SIDES)
def test_a_condition_is_decided_by_the_parameters(condition: str) -> None:
    with_it, without = rendered_on_both_sides(condition)

    assert with_it.conditions[condition] is True
    assert without.conditions[condition] is False
    assert (with_it.resources, with_it.outputs) != (without.resources, without.outputs)


def test_stack_that_calls_stripe_itself_has_nothing_of_the_dummy() -> None:
    with_dummy, without = rendered_on_both_sides("UseDummyStripe")

    assert "DummyStripeLayer" in str(with_dummy.resources)
    assert "DummyStripeTable" in str(with_dummy.resources)
    for name in ("DummyStripeLayer", "DummyStripeTable"):
        assert name not in str((without.resources, without.outputs))


@pytest.mark.parametrize("condition", SIDES)
def test_on_both_sides_of_a_condition_all_that_is_named_is_there(condition: str) -> None:
    for rendering in rendered_on_both_sides(condition):
        assert rendering.broken_rules() == []
        assert rendering.refused_values() == []


@pytest.mark.parametrize("condition", SIDES)
def test_what_is_made_under_a_condition_is_made_there_alone(condition: str) -> None:
    conditional = {
        name
        for name, r in template()["Resources"].items()
        # SAM adds a hash to a layer's name.
        if r.get("Condition") == condition and r["Type"] != "AWS::Serverless::LayerVersion"
    }
    with_it, without = rendered_on_both_sides(condition)

    assert conditional <= with_it.resources.keys()
    assert not conditional & without.resources.keys()


@pytest.mark.parametrize("environment", WANTED)
def test_an_environment_has_parameters_that_the_template_takes(environment: str) -> None:
    rendering = Rendering.of_environment(environment)

    assert rendering.refused_values() == []
    assert rendering.broken_rules() == []


@pytest.mark.slow
@pytest.mark.parametrize("environment", WANTED)
def test_the_linter_finds_nothing_in_what_an_environment_is_made_of(environment: str) -> None:
    rendered = json.dumps(Rendering.of_environment(environment).as_template())

    matches = lint(rendered, regions=[REGION], config=ManualArgs(regions=[REGION]))

    assert [f"{match.rule.id} {match.message}" for match in matches] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"StripeSecretKey": ""}, "Set either StripeSecretKey"),
        ({**SECRET}, "Set either StripeSecretKey"),
        ({**SECRET, "StripeSecretKey": "", "StripeWebhookSecret": "whsec_1"}, "Set either StripeSecretKey"),
        ({"SnapStart": "on", "Runtime": "python3.11"}, "SnapStart requires python3.12"),
        ({"IdentityProvider": "cognito"}, "Leave JwtIssuer"),
        ({"JwtIssuer": ""}, "JwtIssuer is missing"),
        ({"JwtAudience": ""}, "JwtAudience is missing"),
        ({"JwtJwksUrl": ""}, "Set either JwtJwksUrl or JwtJwks"),
        ({"JwtJwks": "{}"}, "Set either JwtJwksUrl or JwtJwks"),
    ],
    ids=lambda value: value.split(".")[0] if isinstance(value, str) else "+".join(value),
)
def test_parameters_that_do_not_go_together_are_refused_before_anything_is_made(given: Any, said: str) -> None:
    (broken,) = Rendering({**LEAST, **given}).broken_rules()

    assert broken.startswith(said)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"StripeSecretKey": "sk_live_1"}, "StripeSecretKey"),
        ({"StripeSecretKey": "rk_live_1"}, "StripeSecretKey"),
        ({"StripeWebhookSecret": "secret"}, "StripeWebhookSecret"),
        ({"PaymentsPerSecond": "7"}, "PaymentsPerSecond"),
        ({"PaymentsPerCaller": "9"}, "PaymentsPerCaller"),
        ({"RecoveryDays": "36"}, "RecoveryDays"),
        ({"AlarmTopicArn": "ops@shop.example"}, "AlarmTopicArn"),
        ({"CorsAllowedOrigins": "https://shop.example/"}, "CorsAllowedOrigins"),
        ({"CorsAllowedHeaders": "Authorization,'"}, "CorsAllowedHeaders"),
        ({"CorsAllowedHeaders": ""}, "CorsAllowedHeaders"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value.values())),
)
def test_a_value_that_cannot_be_right_is_refused(given: dict[str, str], refused: str) -> None:
    assert Rendering({**LEAST, **given}).refused_values() == [refused]


def test_api_gateway_has_a_role_to_log_with_before_the_stage_takes_the_log() -> None:
    rendering = Rendering({**LEAST, **SIDES["SetUpAccessLogs"][0]})
    (stage,) = rendering.of_type("AWS::ApiGateway::Stage").values()

    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["AccessLog", "Arn"]}
    # CloudFormation makes what a resource's metadata refers to before the resource.
    assert rendering.resources["AccessLog"]["Metadata"] == {"After": {"Ref": "ApiLogsAccount"}}


def test_preflight_response_allows_the_headers_of_the_parameter() -> None:
    (api,) = (
        Rendering({**LEAST, "CorsAllowedHeaders": "Authorization,X-Trace"}).of_type("AWS::ApiGateway::RestApi").values()
    )

    allowed = {
        each["options"]["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"][
            "method.response.header.Access-Control-Allow-Headers"
        ]
        for each in api["Body"]["paths"].values()
    }
    assert allowed == {"'Authorization,X-Trace'"}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_payments_of_one_token_are_limited_apart(environment: str) -> None:
    rendering = Rendering.of_environment(environment)
    (rule,) = rendering.of_type("AWS::WAFv2::WebACL")["CallerLimit"]["Rules"]
    (association,) = rendering.of_type("AWS::WAFv2::WebACLAssociation").values()
    limit = rule["Statement"]["RateBasedStatement"]
    (key,) = limit["CustomKeys"]

    assert rule["Action"] == {"Block": {}}
    assert (int(limit["Limit"]), key["Header"]["Name"]) == (100, "authorization")
    # A request that lacks the key is not counted, so Stripe's news always gets through.
    assert limit["ScopeDownStatement"]["ByteMatchStatement"]["SearchString"] in "/v1/orders/ord_1/payment"
    assert association["WebACLArn"] == {"Fn::GetAtt": ["CallerLimit", "Arn"]}
    (stage,) = [name for name, r in rendering.resources.items() if r["Type"] == "AWS::ApiGateway::Stage"]
    assert association["ResourceArn"]["Fn::Sub"].endswith(f"::/restapis/${{Api}}/stages/${{{stage}}}")


def test_gradual_deployment_rolls_back_a_function_on_its_own_errors() -> None:
    gradual = Rendering({**LEAST, "GradualDeployment": "true", "DeploymentType": "Linear10PercentEvery1Minute"})
    groups = gradual.of_type("AWS::CodeDeploy::DeploymentGroup")
    aliases = {name: r for name, r in gradual.resources.items() if r["Type"] == "AWS::Lambda::Alias"}
    alarms = gradual.of_type("AWS::CloudWatch::Alarm")

    assert len(groups) == len(aliases) == len(gradual.of_type("AWS::Lambda::Function"))
    for alias in aliases.values():
        group = groups[alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"]["Ref"]]
        assert group["AutoRollbackConfiguration"]["Enabled"] is True
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
        names = {alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]}
        assert {"InternalErrorsAlarm", "ReconcilerErrorsAlarm"} <= names
        assert len(names) <= 10  # CodeDeploy's limit
        function = alias["Properties"]["FunctionName"]["Ref"]
        dimension = {"Name": "FunctionName", "Value": {"Ref": function}}
        own = [name for name in names if dimension in alarms[name]["Dimensions"]]
        assert bool(own) == (function in called_by_routes() | {"ReconcilePaymentsFunction"}), function


def called_by_routes() -> set[str]:
    return {
        name
        for name, each in template()["Resources"].items()
        if any(event["Type"] == "Api" for event in each["Properties"].get("Events", {}).values())
    }


def test_no_alarm_that_outages_or_strangers_ring_takes_a_deployment_back() -> None:
    gradual = Rendering({**LEAST, "GradualDeployment": "true"})
    alarms = gradual.of_type("AWS::CloudWatch::Alarm")
    ringing = {
        alarm["Name"]["Ref"]
        for group in gradual.of_type("AWS::CodeDeploy::DeploymentGroup").values()
        for alarm in group["AlarmConfiguration"]["Alarms"]
    }

    metrics = {(str(alarms[name]["Namespace"]), alarms[name]["MetricName"]) for name in ringing}
    assert metrics == {(str({"Ref": "AWS::StackName"}), "InternalError"), ("AWS/Lambda", "Errors")}
    watched = {
        each["Value"]["Ref"] for name in ringing for each in alarms[name]["Dimensions"] if "Ref" in each["Value"]
    }
    # Lambda counts a token that the authorizer refuses as an error of its function.
    assert "AuthorizerFunction" not in watched


def test_no_role_is_without_a_boundary_where_there_is_one() -> None:
    staging = Rendering.of_environment("staging", PermissionsBoundaryArn=BOUNDARY)
    roles = staging.of_type("AWS::IAM::Role")

    assert len(roles) > 15
    assert {name: role.get("PermissionsBoundary") for name, role in roles.items()} == dict.fromkeys(roles, BOUNDARY)


def test_where_they_are_not_there_is_nothing_of_codedeploys() -> None:
    at_once = Rendering({**LEAST, "GradualDeployment": "false"})

    assert not [r["Type"] for r in at_once.resources.values() if "CodeDeploy" in json.dumps(r)]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_shared_environment_deploys_gradually_logs_requests_and_takes_no_secret(environment: str) -> None:
    rendering = Rendering.of_environment(environment)
    # `.checkov.yaml` lets be that dev does not log requests.
    (stage,) = rendering.of_type("AWS::ApiGateway::Stage").values()

    assert rendering.of_type("AWS::CodeDeploy::DeploymentGroup")
    assert rendering.parameters["StripeSecretKey"] == rendering.parameters["StripeWebhookSecret"] == ""
    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["AccessLog", "Arn"]}


def test_production_keeps_and_protects_its_data() -> None:
    production = Rendering.of_environment("production")
    tables = production.of_type("AWS::DynamoDB::Table")

    assert {"OrdersTable", "ProductsTable", "StockAdjustmentsTable"} == tables.keys()
    for table in tables.values():
        assert table["DeletionProtectionEnabled"] is True
        assert table["PointInTimeRecoverySpecification"]["RecoveryPeriodInDays"] == "35"
    assert {group["RetentionInDays"] for group in production.of_type("AWS::Logs::LogGroup").values()} == {"365"}
    assert production.of_type("AWS::Events::Archive")


def test_callers_invoke_the_published_version_of_a_function() -> None:
    rendering = Rendering({**LEAST})
    aliases = {name for name, r in rendering.resources.items() if r["Type"] == "AWS::Lambda::Alias"}
    invoked = [
        each["FunctionName"]["Ref"]
        for kind in ("AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping")
        for each in rendering.of_type(kind).values()
    ]
    scheduled = [
        target["Arn"]["Ref"]
        for rule in rendering.of_type("AWS::Events::Rule").values()
        for target in rule["Targets"]
        if target["Arn"] != {"Ref": "AuditStateMachine"}
    ]

    assert len(aliases) == len(rendering.of_type("AWS::Lambda::Function"))
    assert scheduled
    assert {*invoked, *scheduled} <= aliases


def test_release_publishes_a_new_version_of_every_function() -> None:
    one, other = (Rendering({**LEAST, "Release": digit * 10}).of_type("AWS::Lambda::Version") for digit in "12")

    assert len(one) == len(other) == len(Rendering({**LEAST}).of_type("AWS::Lambda::Function"))
    assert not one.keys() & other.keys()
