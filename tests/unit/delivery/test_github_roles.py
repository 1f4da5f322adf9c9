"""The deployment pipeline and its AWS roles, which have the permissions that a deployment needs and no others."""

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from samtranslator.yaml_helper import yaml_parse

from command_line.project import PROJECT
from delivery.rendering import ACCOUNT_PARAMETERS, RENDERING_REGION, SAMCONFIG, Rendering
from tests.support.policies import list_permissions

GITHUB = yaml_parse((PROJECT / "delivery" / "github.yaml").read_text())["Resources"]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (PROJECT / ".github" / "workflows").glob("*.yaml")}

NOT_NEEDED = {
    "amplify:*WebACL*": "the web ACL protects an API stage",
    "apprunner:*WebAcl*": "the web ACL protects an API stage",
    "appsync:*WebACL*": "the web ACL protects an API stage",
    "bedrock-agentcore:*WebACL*": "the web ACL protects an API stage",
    "cognito-idp:*WebACL*": "the web ACL protects an API stage",
    "cognito-idp:AddCustomAttributes": "the pool has no custom attributes",
    "codedeploy:RegisterOnPremisesInstance": "for servers",
    "dynamodb:*Item": "for table imports",
    "dynamodb:*Kinesis*": "the stream is a DynamoDB stream",
    "dynamodb:*Replica": "for global tables",
    "dynamodb:ImportTable": "for table imports",
    "dynamodb:Query": "for table imports",
    "dynamodb:Scan": "for table imports",
    "ec2:*": "for functions in a VPC",
    "elasticfilesystem:*": "for functions with a file system",
    "elasticloadbalancing:*WebACL*": "the web ACL protects an API stage",
    "events:*Permission": "the bus accepts events from this account only",
    "firehose:*": "logs stay in CloudWatch",
    "iam:CreateServiceLinkedRole": "for global tables, and for pools that send messages",
    "iam:DeleteRolePermissionsBoundary": "no role may lose its boundary",
    "kinesis:*": "the stream is a DynamoDB stream",
    "kms:*": "no customer managed key encrypts the stack's resources",
    "lambda:PassCapacityProvider": "for functions on instances",
    "logs:*KmsKey": "no customer managed key encrypts logs",
    "logs:*LogDelivery": "logs stay in CloudWatch",
    "logs:*LogEvents": "for table imports",
    "logs:*LogStream*": "for table imports",
    "logs:DeleteDataProtectionPolicy": "no log has one",
    "logs:DeleteIndexPolicy": "no log has one",
    "logs:*ResourcePolicy": "logs are not shared with other accounts",
    "logs:PutBearerTokenAuthentication": "logs come from this account",
    "logs:PutDataProtectionPolicy": "no log has one",
    "logs:PutIndexPolicy": "no log has one",
    "logs:PutLogGroupDeletionProtection": "deleting a stack deletes its logs",
    "s3:GetObjectMetadata": "for table imports",
    "s3:ListBucket": "for table imports",
    "s3:REST.PUT.OBJECT": "logs stay in CloudWatch",
    "s3files:*": "for functions with a file system",
    "wafv2:*PermissionPolicy": "for rule groups that are shared with other accounts",
}
"""Permissions that a resource type may need, but the stack's resources do not, each with the reason."""


def actions_of(statements: list[dict[str, Any]]) -> set[str]:
    return {
        action
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def statements_of(role: str) -> list[dict[str, Any]]:
    (policy,) = GITHUB[role]["Properties"]["Policies"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return statements


def matches(action: str, patterns: Any) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def needed_by_resources() -> set[str]:
    """Return the permissions that AWS publishes for creating, reading, changing and deleting the stack's resources.

    https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
    """
    renderings = [Rendering.of_environment(name) for name in ACCOUNT_PARAMETERS]
    types = {resource["Type"] for rendering in renderings for resource in rendering.resources.values()}
    handlers = [
        handler
        for type_ in types
        for name, handler in PROVIDER_SCHEMA_MANAGER.get_resource_schema(RENDERING_REGION, type_)
        .schema["handlers"]
        .items()
        if name != "list"
    ]
    return {permission for handler in handlers for permission in handler.get("permissions", [])}


def test_cloudformation_has_exactly_the_permissions_it_needs() -> None:
    needed = needed_by_resources()
    granted = actions_of(statements_of("CloudFormationRole")) - {"cloudformation:CreateChangeSet"}  # for the transform

    assert {action for action in needed if not matches(action, [*granted, *NOT_NEEDED])} == set()
    assert {action for action in granted if not any(matches(each, [action]) for each in needed)} == set()


def test_list_of_permissions_not_needed_is_current() -> None:
    needed = needed_by_resources()
    granted = actions_of(statements_of("CloudFormationRole"))

    for pattern in NOT_NEEDED:
        ungranted = {action for action in needed if matches(action, [pattern]) and not matches(action, granted)}
        assert ungranted, pattern


def test_cloudformation_creates_roles_only_with_the_boundary() -> None:
    for statement in statements_of("CloudFormationRole"):
        if {"iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePolicy"} & actions_of([statement]):
            assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": {"Ref": "Boundary"}}}
    assert "iam:DeleteRolePermissionsBoundary" not in actions_of(statements_of("CloudFormationRole"))
    assert not {action for action in actions_of(statements_of("CloudFormationRole")) if action in {"iam:*", "*"}}


def test_boundary_allows_what_function_policies_grant() -> None:
    bound = actions_of(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"])
    of_functions = {action for rights in list_permissions().values() for action, _ in rights}

    assert of_functions
    assert of_functions <= {action.partition(":")[2] for action in bound}


@pytest.mark.parametrize("name", ACCOUNT_PARAMETERS)
def test_boundary_allows_what_the_roles_of_the_stack_grant(name: str) -> None:
    (passing,) = [statement for statement in statements_of("CloudFormationRole") if statement["Sid"] == "PassRoles"]
    passed_to = set(passing["Condition"]["StringEquals"]["iam:PassedToService"])
    bound = actions_of(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"])

    bound_without_resource = actions_of(
        on_any_resource(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"])
    )

    for role in Rendering.of_environment(name).of_type("AWS::IAM::Role").values():
        assert principals_of(role) <= passed_to
        for policy in role.get("Policies", []):
            statements = policy["PolicyDocument"]["Statement"]
            assert actions_of(statements) <= bound
            assert actions_of(on_any_resource(statements)) <= bound_without_resource


def on_any_resource(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the statements on `*`, for actions without resource-level permissions. A narrower boundary denies them."""
    return [statement for statement in statements if statement["Resource"] == "*"]


def principals_of(role: dict[str, Any]) -> set[str]:
    services = [each["Principal"]["Service"] for each in role["AssumeRolePolicyDocument"]["Statement"]]
    return {service for each in services for service in ([each] if isinstance(each, str) else each)}


def test_cloudformation_may_not_change_the_pipelines_roles() -> None:
    for role in ("DeployRole", "CloudFormationRole"):
        assert GITHUB[role]["Properties"]["Path"] == "/delivery/"
    for statement in statements_of("CloudFormationRole"):
        if any(action.startswith("iam:") for action in actions_of([statement])):
            assert ":role/order-payments-" in statement["Resource"]["Fn::Sub"]


def test_functions_read_only_their_environments_secret() -> None:
    (secrets,) = [
        statement
        for statement in GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"]
        if "secretsmanager:GetSecretValue" in actions_of([statement])
    ]

    assert secrets["Resource"]["Fn::Sub"].endswith(":secret:order-payments-${Environment}/*")


def test_only_a_job_in_the_environment_assumes_the_role() -> None:
    (statement,) = GITHUB["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${Repository}:environment:${Environment}"},
        }
    }


@pytest.mark.parametrize("name", ACCOUNT_PARAMETERS)
def test_samconfig_and_workflow_use_the_roles_environments(name: str) -> None:
    assert SAMCONFIG[name]["deploy"]["parameters"]["stack_name"] == f"order-payments-{name}"
    assert name in WORKFLOWS["deploy"][True]["workflow_dispatch"]["inputs"]["environment"]["options"]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_action_is_pinned_to_a_commit(workflow: str) -> None:
    used = [
        step["uses"] for job in WORKFLOWS[workflow]["jobs"].values() for step in job.get("steps", []) if "uses" in step
    ]

    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_only_deploying_jobs_may_request_an_identity_token(workflow: str) -> None:
    assert WORKFLOWS[workflow]["permissions"] == {"contents": "read"}
    for job in WORKFLOWS[workflow]["jobs"].values():
        deploys = "deploy" in str(job.get("uses", "")) or "make deploy" in str(job.get("steps", []))
        assert job.get("permissions", {}) == ({"contents": "read", "id-token": "write"} if deploys else {})


def test_pipeline_deploys_only_after_the_local_checks_pass() -> None:
    jobs = WORKFLOWS["pipeline"]["jobs"]

    assert [step["run"] for step in jobs["check"]["steps"] if "run" in step] == [".ci/run"]
    assert {"check", "vulnerabilities"} == set(jobs["staging"]["needs"])
    assert jobs["production"]["needs"] == "staging"
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_no_workflow_has_an_aws_key(workflow: str) -> None:
    text = (PROJECT / ".github" / "workflows" / f"{workflow}.yaml").read_text().lower()

    assert "secrets." not in text
    assert "access-key" not in text
    assert "access_key" not in text
