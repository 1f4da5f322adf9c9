"""The permissions that the template's policies grant to each function."""

from typing import Any

from delivery.rendering import template

Permissions = dict[str, set[tuple[str, str]]]
"""By function: actions and their resources, such as `OrdersTable` or the index `OrdersTable/unsettled`."""


def list_permissions() -> Permissions:
    """Return what the policies grant with the dummy Stripe and its key in Secrets Manager."""
    rights: Permissions = {}
    for resource in template()["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            statements = [
                each.get("Fn::If", [None, each])[1]
                for policy in resource["Properties"].get("Policies", [])
                for each in policy["Statement"]
                # AWS uses these permissions itself, with the function's role: Secrets Manager to decrypt, and Lambda to
                # read the stream. The function makes no such call.
                if each.get("Fn::If", [None])[0] != "DecryptSecret" and not is_stream_read(each)
            ]
            folder = resource["Properties"]["CodeUri"].removeprefix("functions/")
            rights[folder] = {
                (action.rpartition(":")[2], resource_of(statement["Resource"]))
                for statement in statements
                for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
            }
    return rights


def is_stream_read(statement: dict[str, Any]) -> bool:
    """Return whether a statement grants only what Lambda needs to read the orders table's stream."""
    if statement.get("Resource") == {"Fn::GetAtt": ["OrdersTable", "StreamArn"]}:
        return set(statement["Action"]) == {
            f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator")
        }
    return statement.get("Action") == "dynamodb:ListStreams"


def resource_of(arn: dict[str, Any]) -> str:
    """Return the resource's name in the template."""
    if "Ref" in arn:
        return str(arn["Ref"])
    if "Fn::GetAtt" in arn:
        return str(arn["Fn::GetAtt"][0])
    return str(arn["Fn::Sub"]).replace("${", "").replace(".Arn}/index", "")
