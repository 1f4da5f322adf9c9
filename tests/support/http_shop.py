"""The shop over HTTP, on the whole deployed stack."""

import json
from contextlib import closing

import httpx

from local.stack import Stack
from tests.support.api_document import check_documented
from tests.support.shop import Reply, Shop, User

LONG_AGO = "2026-01-01T00:00:00.000Z"


class HttpShop(Shop):
    """Calls the API at the stack's short address, with tokens that its issuer signed."""

    def __init__(self, stack: Stack, http: httpx.Client | None = None) -> None:
        """Call the stack's API, by `http` if it is given. The shop closes it."""
        self._stack = stack
        self._http = http or stack.http()
        self.dynamodb = stack.client("dynamodb")
        self.orders_table = stack.deployment.orders_table
        self.products_table = stack.deployment.products_table

    def send(
        self, method: str, path: str, user: User, *, content: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send one request."""
        return self.send_with(self._stack.token(user.sub, user.roles), method, path, content=content, headers=headers)

    def send_with(
        self,
        token: str | None,
        method: str,
        path: str,
        *,
        content: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send one request with this token, or with none."""
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self._http.request(
            method,
            path,
            content=None if content is None else content.encode(),
            headers={"Content-Type": "application/json", **(headers or {}), **authorization},
        )
        reply = Reply(answer.status_code, json.loads(answer.content), dict(answer.headers))
        check_documented(method, path, reply)
        return reply

    def expire_lease(self, order: str) -> None:
        """Make the attempt as old as one that its payer has surely left."""
        self.dynamodb.update_item(
            TableName=self.orders_table,
            Key={"orderId": {"S": order}},
            UpdateExpression="SET #payment.startedAt = :then, unsettledSince = :then",
            ConditionExpression="attribute_exists(unsettledShard)",
            ExpressionAttributeNames={"#payment": "payment"},
            ExpressionAttributeValues={":then": {"S": LONG_AGO}},
        )

    def reconcile(self) -> dict[str, int]:
        """Run the deployed reconciler now, rather than wait for its minute. Returns what it says of its run."""
        with closing(self._stack.client("lambda")) as client:
            names = [function["FunctionName"] for function in client.list_functions()["Functions"]]
            (name,) = [name for name in names if "ReconcilePayments" in name]
            answer = client.invoke(FunctionName=name, Qualifier="live", Payload=b"{}")
            assert "FunctionError" not in answer
            tally: dict[str, int] = json.load(answer["Payload"])
            return tally

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self.dynamodb.close()
