"""Creates the template's tables on any DynamoDB engine."""

from typing import TYPE_CHECKING

from delivery.rendering import template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_TABLE_PROPERTIES = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


def create_tables(client: "DynamoDBClient", *, prefix: str = "") -> dict[str, str]:
    """Create the template's tables. Return their names by logical id: `prefix` followed by the logical id."""
    tables = {
        logical_id: resource["Properties"]
        for logical_id, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::DynamoDB::Table"
    }
    for logical_id, properties in tables.items():
        client.create_table(
            TableName=prefix + logical_id,
            **{name: properties[name] for name in _TABLE_PROPERTIES if name in properties},
        )
    return {logical_id: prefix + logical_id for logical_id in tables}


def recreate_tables(client: "DynamoDBClient") -> None:
    """Delete all tables and create the template's tables, empty."""
    for table in client.list_tables()["TableNames"]:
        client.delete_table(TableName=table)
    create_tables(client)
