"""How the project reaches AWS: what the pipeline runs, as whom, and that this is enough and no more."""

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from samtranslator.yaml_helper import yaml_parse

from command_line.project import PROJECT
from delivery.rendering import REGION, SAMCONFIG, WANTED, Rendering
from tests.support.policies import list_permissions

GITHUB = yaml_parse((PROJECT / "delivery" / "github.yaml").read_text())["Resources"]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (PROJECT / ".github" / "workflows").glob("*.yaml")}

NOT_NEEDED = {
    "amplify:*WebACL*": "the web ACL is of an API stage",
    "apprunner:*WebAcl*": "the web ACL is of an API stage",
    "appsync:*WebACL*": "the web ACL is of an API stage",
    "bedrock-agentcore:*WebACL*": "the web ACL is of an API stage",
    "cognito-idp:*WebACL*": "the web ACL is of an API stage",
    "cognito-idp:AddCustomAttributes": "the pool has none",
    "codedeploy:RegisterOnPremisesInstance": "of servers",
    "dynamodb:*Item": "to import a table",
    "dynamodb:*Kinesis*": "the stream is DynamoDB's own",
    "dynamodb:*Replica": "of global tables",
    "dynamodb:ImportTable": "to import a table",
    "dynamodb:Query": "to import a table",
    "dynamodb:Scan": "to import a table",
    "ec2:*": "of functions in a network of one's own",
    "elasticfilesystem:*": "of functions with a file system",
    "elasticloadbalancing:*WebACL*": "the web ACL is of an API stage",
    "events:*Permission": "the bus lets in this account alone",
    "firehose:*": "logs stay in CloudWatch",
    "iam:CreateServiceLinkedRole": "of global tables, and of pools that send messages",
    "iam:DeleteRolePermissionsBoundary": "no role may get rid of its boundary",
    "kinesis:*": "the stream is DynamoDB's own",
    "kms:*": "no key of one's own encrypts what the stack makes",
    "lambda:PassCapacityProvider": "of functions on instances",
    "logs:*KmsKey": "no key of one's own encrypts logs",
    "logs:*LogDelivery": "logs stay in CloudWatch",
    "logs:*LogEvents": "to import a table",
    "logs:*LogStream*": "to import a table",
    "logs:DeleteDataProtectionPolicy": "no log has one",
    "logs:DeleteIndexPolicy": "no log has one",
    "logs:*ResourcePolicy": "logs are the account's own",
    "logs:PutBearerTokenAuthentication": "logs come from this account",
    "logs:PutDataProtectionPolicy": "no log has one",
    "logs:PutIndexPolicy": "no log has one",
    "logs:PutLogGroupDeletionProtection": "a stack that goes takes its logs along",
    "s3:GetObjectMetadata": "to import a table",
    "s3:ListBucket": "to import a table",
    "s3:REST.PUT.OBJECT": "logs stay in CloudWatch",
    "s3files:*": "of functions with a file system",
    "wafv2:*PermissionPolicy": "of rule groups that are shared with other accounts",
}
"""What a type of resource may need for what ours do not have, and that is."""


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


def needed_by_the_resources() -> set[str]:
    """What AWS says that it takes to make, change, read and delete all that is made in any environment.

    https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
    """
    renderings = [Rendering.of_environment(name) for name in WANTED]
    types = {resource["Type"] for rendering in renderings for resource in rendering.resources.values()}
    handlers = [
        handler
        for type_ in types
        for name, handler in PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, type_).schema["handlers"].items()
        if name != "list"
    ]
    return {permission for handler in handlers for permission in handler.get("permissions", [])}


def test_cloudformation_may_do_what_the_resources_take_and_nothing_else() -> None:
    needed = needed_by_the_resources()
    granted = actions_of(statements_of("CloudFormationRole")) - {"cloudformation:CreateChangeSet"}  # of the transform

    assert {action for action in needed if not matches(action, [*granted, *NOT_NEEDED])} == set()
    assert {action for action in granted if not any(matches(each, [action]) for each in needed)} == set()


def test_what_is_not_needed_is_not_granted_and_the_list_of_it_not_out_of_date() -> None:
    needed = needed_by_the_resources()
    granted = actions_of(statements_of("CloudFormationRole"))

    for pattern in NOT_NEEDED:
        ungranted = {action for action in needed if matches(action, [pattern]) and not matches(action, granted)}
        assert ungranted, pattern


def test_no_role_is_given_rights_outside_the_boundary() -> None:
    for statement in statements_of("CloudFormationRole"):
        gives_rights = {"iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePolicy"} & actions_of([statement])
        if gives_rights:
            assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": {"Ref": "Boundary"}}}
    assert "iam:DeleteRolePermissionsBoundary" not in actions_of(statements_of("CloudFormationRole"))
    assert not {action for action in actions_of(statements_of("CloudFormationRole")) if action in {"iam:*", "*"}}


def test_the_boundary_lets_functions_do_what_their_policies_grant() -> None:
    bound = actions_of(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"])
    of_functions = {action for rights in list_permissions().values() for action, _ in rights}

    assert of_functions
    assert of_functions <= {action.partition(":")[2] for action in bound}


@pytest.mark.parametrize("name", WANTED)
def test_every_role_of_a_stack_can_be_passed_and_works_within_the_boundary(name: str) -> None:
    (passing,) = [statement for statement in statements_of("CloudFormationRole") if statement["Sid"] == "PassRoles"]
    passed_to = set(passing["Condition"]["StringEquals"]["iam:PassedToService"])
    bound = actions_of(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"])

    bound_of_everything = actions_of(of_everything(GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"]))

    for role in Rendering.of_environment(name).of_type("AWS::IAM::Role").values():
        assert principals_of(role) <= passed_to
        for policy in role.get("Policies", []):
            statements = policy["PolicyDocument"]["Statement"]
            assert actions_of(statements) <= bound
            assert actions_of(of_everything(statements)) <= bound_of_everything


def of_everything(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of actions that know no resources: a bound on resources forbids them."""
    return [statement for statement in statements if statement["Resource"] == "*"]


def principals_of(role: dict[str, Any]) -> set[str]:
    services = [each["Principal"]["Service"] for each in role["AssumeRolePolicyDocument"]["Statement"]]
    return {service for each in services for service in ([each] if isinstance(each, str) else each)}


def test_the_pipelines_own_roles_are_none_that_cloudformation_may_change() -> None:
    for role in ("DeployRole", "CloudFormationRole"):
        assert GITHUB[role]["Properties"]["Path"] == "/delivery/"
    for statement in statements_of("CloudFormationRole"):
        if any(action.startswith("iam:") for action in actions_of([statement])):
            assert ":role/order-payments-" in statement["Resource"]["Fn::Sub"]


def test_no_function_gets_another_environments_secret() -> None:
    (secrets,) = [
        statement
        for statement in GITHUB["Boundary"]["Properties"]["PolicyDocument"]["Statement"]
        if "secretsmanager:GetSecretValue" in actions_of([statement])
    ]

    assert secrets["Resource"]["Fn::Sub"].endswith(":secret:order-payments-${Environment}/*")


def test_only_a_job_in_the_environment_gets_the_role() -> None:
    (statement,) = GITHUB["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${Repository}:environment:${Environment}"},
        }
    }


@pytest.mark.parametrize("name", WANTED)
def test_the_roles_are_for_the_stacks_of_samconfig(name: str) -> None:
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
def test_a_job_may_read_and_who_deploys_may_prove_who_it_is(workflow: str) -> None:
    assert WORKFLOWS[workflow]["permissions"] == {"contents": "read"}
    for job in WORKFLOWS[workflow]["jobs"].values():
        deploys = "deploy" in str(job.get("uses", "")) or "make deploy" in str(job.get("steps", []))
        assert job.get("permissions", {}) == ({"contents": "read", "id-token": "write"} if deploys else {})


def test_the_pipeline_checks_by_what_every_machine_checks_by_before_it_deploys() -> None:
    jobs = WORKFLOWS["pipeline"]["jobs"]

    assert [step["run"] for step in jobs["check"]["steps"] if "run" in step] == [".ci/run"]
    assert {"check", "vulnerabilities"} == set(jobs["staging"]["needs"])
    assert jobs["production"]["needs"] == "staging"
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_no_workflow_has_a_key_of_awss(workflow: str) -> None:
    text = (PROJECT / ".github" / "workflows" / f"{workflow}.yaml").read_text().lower()

    assert "secrets." not in text
    assert "access-key" not in text
    assert "access_key" not in text
