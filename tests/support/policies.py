"""What the template's policies let each function do."""

from typing import Any

from delivery.rendering import template

Permissions = dict[str, set[tuple[str, str]]]
"""By function, what it does or may do: the action, and on what (`OrdersTable`, the index `OrdersTable/unsettled`)."""


def list_permissions() -> Permissions:
    """What the template's policies say, with the dummy Stripe, and its key in Secrets Manager."""
    rights: Permissions = {}
    for resource in template()["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            statements = [
                each.get("Fn::If", [None, each])[1]
                for policy in resource["Properties"].get("Policies", [])
                for each in policy["Statement"]
                # Secrets Manager decrypts, and Lambda reads the stream, in the function's name: no call of ours to see.
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
    """Whether a statement is for what Lambda does to read the orders table's stream, and has nothing else."""
    if statement.get("Resource") == {"Fn::GetAtt": ["OrdersTable", "StreamArn"]}:
        return set(statement["Action"]) == {
            f"dynamodb:{it}" for it in ("DescribeStream", "GetRecords", "GetShardIterator")
        }
    return statement.get("Action") == "dynamodb:ListStreams"


def resource_of(arn: dict[str, Any]) -> str:
    """What a statement is about, by its name in the template."""
    if "Ref" in arn:
        return str(arn["Ref"])
    if "Fn::GetAtt" in arn:
        return str(arn["Fn::GetAtt"][0])
    return str(arn["Fn::Sub"]).replace("${", "").replace(".Arn}/index", "")
