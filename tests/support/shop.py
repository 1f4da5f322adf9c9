"""The API as its users call it. The same scenarios run on the functions alone and on the deployed stack."""

import itertools
import json
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueUpdateTypeDef


@dataclass(frozen=True)
class User:
    """A signed-in user."""

    sub: str
    roles: tuple[str, ...]


ALICE = User("alice", ("buyer",))
BOB = User("bob", ("buyer",))
SELLER = User("sam", ("seller",))
ADMIN = User("ada", ("admin",))


def new_buyer() -> User:
    """Return a buyer that no other test uses."""
    return User(f"buyer-{uuid.uuid4().hex[:8]}", ("buyer",))


@dataclass(frozen=True)
class Reply:
    """An HTTP response. `body` is parsed JSON; `headers` have lower-case names."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        """The problem's code, or `None` if the response is no problem."""
        is_problem = self.headers.get("content-type", "").startswith("application/problem+json")
        return self.body["code"] if is_problem else None


class Stock(NamedTuple):
    """A product's units."""

    stock: int
    reserved: int
    available: int


class Shop(ABC):
    """Calls the API. Subclasses implement the transport."""

    dynamodb: "DynamoDBClient"
    orders_table: str
    products_table: str
    _ids = itertools.count()

    @abstractmethod
    def send(
        self, method: str, path: str, user: User, *, content: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send one request with a valid token of `user`. `path` excludes the stage."""

    def call(
        self, method: str, path: str, user: User, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send one request with a JSON body."""
        return self.send(method, path, user, content=None if body is None else json.dumps(body), headers=headers)

    def add_product(
        self,
        *,
        stock: int = 10,
        unit_price: int = 4599,
        currency: str = "usd",
        name: str = "Green tea",
        product_id: str | None = None,
    ) -> str:
        """Create a product and return its id, which is new unless `product_id` is given."""
        product_id = product_id or f"product-{next(self._ids)}-{uuid.uuid4().hex[:8]}"
        body = {"name": name, "unitPrice": unit_price, "currency": currency, "stock": stock}
        reply = self.call("PUT", f"/admin/products/{product_id}", ADMIN, body)
        assert reply.status == 200, reply
        return product_id

    def write_product(self, product_id: str, **attributes: str | int) -> None:
        """Write a product to DynamoDB, bypassing the API, as another service would."""
        item = {name: {"S": v} if isinstance(v, str) else {"N": str(v)} for name, v in attributes.items()}
        self.dynamodb.put_item(TableName=self.products_table, Item={"productId": {"S": product_id}, **item})

    def write_order(self, order_id: str, **attributes: str | int | None) -> None:
        """Change attributes of an order in DynamoDB, as an earlier release may have written them. None removes one."""
        updates: dict[str, AttributeValueUpdateTypeDef] = {
            name: {"Value": {"S": v} if isinstance(v, str) else {"N": str(v)}}
            if v is not None
            else {"Action": "DELETE"}
            for name, v in attributes.items()
        }
        key = {"orderId": {"S": order_id}}
        self.dynamodb.update_item(TableName=self.orders_table, Key=key, AttributeUpdates=updates)

    def remove_product(self, product_id: str) -> None:
        """Delete a product in DynamoDB, bypassing the API."""
        self.dynamodb.delete_item(TableName=self.products_table, Key={"productId": {"S": product_id}})

    def order(self, *lines: tuple[str, int], user: User = ALICE) -> str:
        """Place an order for `(product id, quantity)` lines and return its id."""
        items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in lines]
        reply = self.call("POST", "/orders", user, {"items": items})
        assert reply.status == 201, reply
        order_id: str = reply.body["orderId"]
        return order_id

    def pay(self, order_id: str, card: str | None = None, *, user: User = ALICE, key: str | None = None) -> Reply:
        """Pay an order. Without a card, the service uses its default."""
        return self.call(
            "POST",
            f"/orders/{order_id}/payment",
            user,
            None if card is None else {"paymentMethodId": card},
            headers=None if key is None else {"Idempotency-Key": key},
        )

    def override(self, order_id: str, status: str, *, reason: str = "Paid by bank transfer.") -> Reply:
        """Override an order's status, as an admin."""
        return self.call("PUT", f"/admin/orders/{order_id}/status", ADMIN, {"status": status, "reason": reason})

    def pages(
        self, listing: str, user: User, *, limit: int | None = None, **filters: str
    ) -> list[list[dict[str, Any]]]:
        """Return all pages of `orders`, `admin/orders` or `products`."""
        pages, cursor = [], None
        while True:
            parameters = {"limit": limit, "cursor": cursor, **filters}
            query = urlencode({name: value for name, value in parameters.items() if value})
            reply = self.call("GET", f"/{listing}?{query}" if query else f"/{listing}", user)
            assert reply.status == 200, reply
            pages.append(reply.body[listing.removeprefix("admin/")])
            cursor = reply.body["cursor"]
            if cursor is None:
                return pages

    def status(self, order_id: str, user: User = ALICE) -> dict[str, Any]:
        """Return an order's status object."""
        reply = self.call("GET", f"/orders/{order_id}/status", user)
        assert reply.status == 200, reply
        body: dict[str, Any] = reply.body
        return body

    def stock(self, product_id: str) -> Stock:
        """Return a product's units."""
        reply = self.call("GET", f"/products/{product_id}", ALICE)
        assert reply.status == 200, reply
        return Stock(reply.body["stock"], reply.body["reserved"], reply.body["available"])
