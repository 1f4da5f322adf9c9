"""A shop that calls the deployed stack over HTTP."""

import json
from contextlib import closing

import httpx

from local.stack import Stack
from tests.support.api_document import check_documented
from tests.support.shop import Reply, Shop, User

LONG_AGO = "2026-01-01T00:00:00.000Z"


class HttpShop(Shop):
    """Calls the stack's API with tokens of its issuer."""

    def __init__(self, stack: Stack, http: httpx.Client | None = None) -> None:
        """Use `http` if given. `close` closes it."""
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
        """Send one request with the given token, or with none."""
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
        """Backdate the attempt, so that its lease has expired."""
        self.dynamodb.update_item(
            TableName=self.orders_table,
            Key={"orderId": {"S": order}},
            UpdateExpression="SET #payment.startedAt = :then, unsettledSince = :then",
            ConditionExpression="attribute_exists(unsettledShard)",
            ExpressionAttributeNames={"#payment": "payment"},
            ExpressionAttributeValues={":then": {"S": LONG_AGO}},
        )

    def reconcile(self) -> dict[str, int]:
        """Invoke the deployed reconciler, instead of waiting for its schedule, and return its tally."""
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
