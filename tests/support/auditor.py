"""The audit and repair functions without the state machine, and writes that bypass the service."""

from datetime import timedelta
from typing import Any

import stripe

from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.functions import Context, load_function
from order_payments.runtime.clock import rfc3339, utc_now
from order_payments.storage.dynamodb import to_wire
from tests.support.function_shop import FunctionShop

NO_RECHECK_DELAY = {"lookAgainAfterSeconds": 0}


class Auditor:
    """Calls the functions as the state machine does."""

    def __init__(self) -> None:
        self.function = load_function("audit_payments")
        self.repairer = load_function("repair_payments")

    def run(self, between: Any = lambda: None, **given: Any) -> dict[str, Any]:
        """Run the audit to its end, call `between` after each step, and return the report."""
        state: dict[str, Any] = NO_RECHECK_DELAY | given
        while not state.get("done"):
            state = self.function.handler(state, Context(600))
            between()
        return state

    def kinds(self) -> list[str]:
        """Run an audit and return the sorted kinds of its findings."""
        return sorted(finding["kind"] for finding in self.run()["findings"])

    def plan(self) -> list[dict[str, Any]]:
        """Run an audit and return the repair steps for its findings."""
        steps: list[dict[str, Any]] = self.repairer.handler({"findings": self.run()["findings"]}, Context(600))["steps"]
        return steps

    def apply(self, steps: list[dict[str, Any]]) -> list[str]:
        """Apply repair steps and return their outcomes."""
        answer = self.repairer.handler({"steps": steps, "apply": True}, Context(600))
        return [step["outcome"] for step in answer["steps"]]


def write(shop: FunctionShop, table: str, key: dict[str, str], update: str, **values: Any) -> None:
    """Update an item in DynamoDB, bypassing the service."""
    names = {"#payment": "payment", "#status": "status", "#lines": "items"}
    request: dict[str, Any] = {"TableName": table, "Key": to_wire(key), "UpdateExpression": update}
    if used := {name: attribute for name, attribute in names.items() if name in update}:
        request["ExpressionAttributeNames"] = used
    if values:
        request["ExpressionAttributeValues"] = to_wire({f":{name}": value for name, value in values.items()})
    shop.dynamodb.update_item(**request)


def write_order(shop: FunctionShop, order: str, update: str, **values: Any) -> None:
    """Update an order in DynamoDB, bypassing the service."""
    write(shop, "OrdersTable", {"orderId": order}, update, **values)


def write_product(shop: FunctionShop, product: str, update: str, **values: Any) -> None:
    """Update a product in DynamoDB, bypassing the service."""
    write(shop, "ProductsTable", {"productId": product}, update, **values)


def external_stripe(shop: FunctionShop) -> stripe.StripeClient:
    """Return a Stripe client for calls that the service does not make."""
    wire = DummyStripeHTTPClient(DynamoDBStore(shop.dynamodb, "DummyStripeTable"))
    return stripe.StripeClient("sk_test_unit", http_client=wire)


def record_unsent_refund(shop: FunctionShop) -> tuple[str, str]:
    """Record a refund that was never sent, on a cancelled order that was charged. Return the order and its intent."""
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    shop.override(order, "cancelled")
    refund = {"paymentIntentId": intent, "owedSince": rfc3339(utc_now() - timedelta(hours=1)), "refundId": "re_1"}
    write_order(shop, order, "SET refund = :refund", refund=refund)
    return order, intent


def charge_late(shop: FunctionShop, order: str) -> str:
    """Void an order's attempt, then charge its intent without the service. Return the intent."""
    shop.pay(order, "pm_unknown")
    intents = DynamoDBStore(shop.dynamodb, "DummyStripeTable").intents()
    intent = next(each.id for each in intents if each.metadata["orderId"] == order)
    external_stripe(shop).v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    return intent
