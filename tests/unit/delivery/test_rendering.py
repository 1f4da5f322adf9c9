"""`template.yaml` rendered on both sides of every condition, and for every environment."""

import json
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from delivery.rendering import ACCOUNT_PARAMETERS, RENDERING_REGION, SECRET, Rendering, template

OPENID = {"JwtIssuer": "https://id.example/", "JwtAudience": "shop", "JwtJwksUrl": "https://id.example/jwks"}
REQUIRED = {"StripeSecretKey": "sk_test_dummy", **OPENID}
"""The required parameters."""

BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
KMS_KEY = {"StripeSecretKmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1"}
SIDES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "UseDummyStripe": ({"StripeBackend": "dummy"}, {"StripeBackend": "api"}),
    "FetchSecret": ({**SECRET, "StripeSecretKey": ""}, {}),
    "DecryptSecret": ({**SECRET, "StripeSecretKey": "", **KMS_KEY}, {**SECRET, "StripeSecretKey": ""}),
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
"""By condition, parameters that make it true, and similar ones that make it false."""


def render_both_sides(condition: str) -> tuple[Rendering, Rendering]:
    with_it, without = SIDES[condition]
    return Rendering({**REQUIRED, **with_it}), Rendering({**REQUIRED, **without})


def test_every_condition_is_tested() -> None:
    assert SIDES.keys() == template()["Conditions"].keys()


@pytest.mark.parametrize("condition", SIDES)
def test_parameters_decide_the_condition(condition: str) -> None:
    with_it, without = render_both_sides(condition)

    assert with_it.conditions[condition] is True
    assert without.conditions[condition] is False
    assert (with_it.resources, with_it.outputs) != (without.resources, without.outputs)


def test_stack_that_calls_stripe_has_no_dummy_resources() -> None:
    with_dummy, without = render_both_sides("UseDummyStripe")

    assert "DummyStripeLayer" in str(with_dummy.resources)
    assert "DummyStripeTable" in str(with_dummy.resources)
    for name in ("DummyStripeLayer", "DummyStripeTable"):
        assert name not in str((without.resources, without.outputs))


@pytest.mark.parametrize("condition", SIDES)
def test_both_sides_of_a_condition_have_valid_parameters(condition: str) -> None:
    for rendering in render_both_sides(condition):
        assert rendering.broken_rules() == []
        assert rendering.refused_values() == []


@pytest.mark.parametrize("condition", SIDES)
def test_conditional_resources_exist_only_if_the_condition_is_true(condition: str) -> None:
    conditional = {
        name
        for name, r in template()["Resources"].items()
        # SAM adds a hash to a layer's name.
        if r.get("Condition") == condition and r["Type"] != "AWS::Serverless::LayerVersion"
    }
    with_it, without = render_both_sides(condition)

    assert conditional <= with_it.resources.keys()
    assert not conditional & without.resources.keys()


@pytest.mark.parametrize("environment", ACCOUNT_PARAMETERS)
def test_environment_has_valid_parameters(environment: str) -> None:
    rendering = Rendering.of_environment(environment)

    assert rendering.refused_values() == []
    assert rendering.broken_rules() == []


@pytest.mark.slow
@pytest.mark.parametrize("environment", ACCOUNT_PARAMETERS)
def test_rendered_environment_passes_the_linter(environment: str) -> None:
    rendered = json.dumps(Rendering.of_environment(environment).as_template())

    matches = lint(rendered, regions=[RENDERING_REGION], config=ManualArgs(regions=[RENDERING_REGION]))

    assert [f"{match.rule.id} {match.message}" for match in matches] == []


@pytest.mark.parametrize(
    ("given", "message"),
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
def test_contradictory_parameters_break_a_rule(given: Any, message: str) -> None:
    (broken,) = Rendering({**REQUIRED, **given}).broken_rules()

    assert broken.startswith(message)


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
def test_invalid_value_is_refused(given: dict[str, str], refused: str) -> None:
    assert Rendering({**REQUIRED, **given}).refused_values() == [refused]


def test_api_gateway_gets_its_log_role_before_the_stage_logs() -> None:
    rendering = Rendering({**REQUIRED, **SIDES["SetUpAccessLogs"][0]})
    (stage,) = rendering.of_type("AWS::ApiGateway::Stage").values()

    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["AccessLog", "Arn"]}
    # CloudFormation creates the resources that a resource's metadata refers to first.
    assert rendering.resources["AccessLog"]["Metadata"] == {"After": {"Ref": "ApiLogsAccount"}}


def test_preflight_response_allows_the_headers_of_the_parameter() -> None:
    (api,) = (
        Rendering({**REQUIRED, "CorsAllowedHeaders": "Authorization,X-Trace"})
        .of_type("AWS::ApiGateway::RestApi")
        .values()
    )

    allowed = {
        each["options"]["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"][
            "method.response.header.Access-Control-Allow-Headers"
        ]
        for each in api["Body"]["paths"].values()
    }
    assert allowed == {"'Authorization,X-Trace'"}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_payments_are_rate_limited_per_token(environment: str) -> None:
    rendering = Rendering.of_environment(environment)
    (rule,) = rendering.of_type("AWS::WAFv2::WebACL")["CallerLimit"]["Rules"]
    (association,) = rendering.of_type("AWS::WAFv2::WebACLAssociation").values()
    limit = rule["Statement"]["RateBasedStatement"]
    (key,) = limit["CustomKeys"]

    assert rule["Action"] == {"Block": {}}
    assert (int(limit["Limit"]), key["Header"]["Name"]) == (100, "authorization")
    # WAF does not count requests without the header, so Stripe's webhook calls are never limited.
    assert limit["ScopeDownStatement"]["ByteMatchStatement"]["SearchString"] in "/v1/orders/ord_1/payment"
    assert association["WebACLArn"] == {"Fn::GetAtt": ["CallerLimit", "Arn"]}
    (stage,) = [name for name, r in rendering.resources.items() if r["Type"] == "AWS::ApiGateway::Stage"]
    assert association["ResourceArn"]["Fn::Sub"].endswith(f"::/restapis/${{Api}}/stages/${{{stage}}}")


def test_gradual_deployment_rolls_back_a_function_on_its_own_errors() -> None:
    gradual = Rendering({**REQUIRED, "GradualDeployment": "true", "DeploymentType": "Linear10PercentEvery1Minute"})
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


def test_outages_and_refused_tokens_do_not_roll_back_a_deployment() -> None:
    gradual = Rendering({**REQUIRED, "GradualDeployment": "true"})
    alarms = gradual.of_type("AWS::CloudWatch::Alarm")
    rollback_alarms = {
        alarm["Name"]["Ref"]
        for group in gradual.of_type("AWS::CodeDeploy::DeploymentGroup").values()
        for alarm in group["AlarmConfiguration"]["Alarms"]
    }

    metrics = {(str(alarms[name]["Namespace"]), alarms[name]["MetricName"]) for name in rollback_alarms}
    assert metrics == {(str({"Ref": "AWS::StackName"}), "InternalError"), ("AWS/Lambda", "Errors")}
    watched = {
        each["Value"]["Ref"]
        for name in rollback_alarms
        for each in alarms[name]["Dimensions"]
        if "Ref" in each["Value"]
    }
    # Lambda counts a refused token as an error of the authorizer.
    assert "AuthorizerFunction" not in watched


def test_permissions_boundary_applies_to_every_role() -> None:
    staging = Rendering.of_environment("staging", PermissionsBoundaryArn=BOUNDARY)
    roles = staging.of_type("AWS::IAM::Role")

    assert len(roles) > 15
    assert {name: role.get("PermissionsBoundary") for name, role in roles.items()} == dict.fromkeys(roles, BOUNDARY)


def test_stack_without_gradual_deployment_has_no_codedeploy() -> None:
    at_once = Rendering({**REQUIRED, "GradualDeployment": "false"})

    assert not [r["Type"] for r in at_once.resources.values() if "CodeDeploy" in json.dumps(r)]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_staging_and_production_roll_gradually_log_and_fetch_secrets(environment: str) -> None:
    rendering = Rendering.of_environment(environment)
    # dev does not log requests: see `.checkov.yaml`.
    (stage,) = rendering.of_type("AWS::ApiGateway::Stage").values()

    assert rendering.of_type("AWS::CodeDeploy::DeploymentGroup")
    assert rendering.parameters["StripeSecretKey"] == rendering.parameters["StripeWebhookSecret"] == ""
    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["AccessLog", "Arn"]}


def test_production_protects_and_retains_its_data() -> None:
    production = Rendering.of_environment("production")
    tables = production.of_type("AWS::DynamoDB::Table")

    assert {"OrdersTable", "ProductsTable", "StockAdjustmentsTable"} == tables.keys()
    for table in tables.values():
        assert table["DeletionProtectionEnabled"] is True
        assert table["PointInTimeRecoverySpecification"]["RecoveryPeriodInDays"] == "35"
    assert {group["RetentionInDays"] for group in production.of_type("AWS::Logs::LogGroup").values()} == {"365"}
    assert production.of_type("AWS::Events::Archive")


def test_callers_invoke_the_published_version_of_a_function() -> None:
    rendering = Rendering({**REQUIRED})
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
    first, second = (Rendering({**REQUIRED, "Release": digit * 10}).of_type("AWS::Lambda::Version") for digit in "12")

    assert len(first) == len(second) == len(Rendering({**REQUIRED}).of_type("AWS::Lambda::Function"))
    assert not first.keys() & second.keys()
