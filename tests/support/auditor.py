"""The audit and the repair as an operator has them, on the functions alone, and who damages what they look at."""

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
    """Does what the state machine does."""

    def __init__(self) -> None:
        self.function = load_function("audit_payments")
        self.repairer = load_function("repair_payments")

    def run(self, between: Any = lambda: None, **given: Any) -> dict[str, Any]:
        """Audit to the end, with something done between the steps. Returns the report."""
        state: dict[str, Any] = NO_RECHECK_DELAY | given
        while not state.get("done"):
            state = self.function.handler(state, Context(600))
            between()
        return state

    def kinds(self) -> list[str]:
        """The kinds of what an audit finds."""
        return sorted(finding["kind"] for finding in self.run()["findings"])

    def plan(self) -> list[dict[str, Any]]:
        """What would be done about what an audit finds."""
        steps: list[dict[str, Any]] = self.repairer.handler({"findings": self.run()["findings"]}, Context(600))["steps"]
        return steps

    def apply(self, steps: list[dict[str, Any]]) -> list[str]:
        """Do steps of a plan. Returns their outcomes."""
        answer = self.repairer.handler({"steps": steps, "apply": True}, Context(600))
        return [step["outcome"] for step in answer["steps"]]


def write(shop: FunctionShop, table: str, key: dict[str, str], update: str, **values: Any) -> None:
    """Write an item past the service."""
    names = {"#payment": "payment", "#status": "status", "#lines": "items"}
    request: dict[str, Any] = {"TableName": table, "Key": to_wire(key), "UpdateExpression": update}
    if used := {name: attribute for name, attribute in names.items() if name in update}:
        request["ExpressionAttributeNames"] = used
    if values:
        request["ExpressionAttributeValues"] = to_wire({f":{name}": value for name, value in values.items()})
    shop.dynamodb.update_item(**request)


def write_order(shop: FunctionShop, order: str, update: str, **values: Any) -> None:
    """Write an order past the service."""
    write(shop, "OrdersTable", {"orderId": order}, update, **values)


def write_product(shop: FunctionShop, product: str, update: str, **values: Any) -> None:
    """Write a product past the service."""
    write(shop, "ProductsTable", {"productId": product}, update, **values)


def external_stripe(shop: FunctionShop) -> stripe.StripeClient:
    """Stripe as somebody else uses it."""
    wire = DummyStripeHTTPClient(DynamoDBStore(shop.dynamodb, "DummyStripeTable"))
    return stripe.StripeClient("sk_test_unit", http_client=wire)


def record_unsent_refund(shop: FunctionShop) -> tuple[str, str]:
    """A cancelled order that says its late money went back an hour ago, which it has not. Returns it and its intent."""
    order = shop.order((shop.add_product(), 1))
    intent = charge_late(shop, order)
    shop.override(order, "cancelled")
    refund = {"paymentIntentId": intent, "owedSince": rfc3339(utc_now() - timedelta(hours=1)), "refundId": "re_1"}
    write_order(shop, order, "SET refund = :refund", refund=refund)
    return order, intent


def charge_late(shop: FunctionShop, order: str) -> str:
    """Charge the intent of an order that was voided, past us."""
    shop.pay(order, "pm_unknown")
    intents = DynamoDBStore(shop.dynamodb, "DummyStripeTable").intents()
    intent = next(each.id for each in intents if each.metadata["orderId"] == order)
    external_stripe(shop).v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    return intent
