"""A shop as its users see it, to tell scenarios in: the same ones run on the functions alone and on the whole stack."""

import itertools
import json
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class User:
    """Somebody with a token."""

    sub: str
    roles: tuple[str, ...]


ALICE = User("alice", ("buyer",))
BOB = User("bob", ("buyer",))
SELLER = User("sam", ("seller",))
ADMIN = User("ada", ("admin",))


def new_buyer() -> User:
    """A buyer whom no other test knows."""
    return User(f"buyer-{uuid.uuid4().hex[:8]}", ("buyer",))


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. `body` is parsed JSON; `headers` have lower-case names."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        """The problem's code, where the answer is a problem."""
        is_problem = self.headers.get("content-type", "").startswith("application/problem+json")
        return self.body["code"] if is_problem else None


class Stock(NamedTuple):
    """What a shop has of a product."""

    stock: int
    reserved: int
    available: int


class Shop(ABC):
    """Calls the API. Subclasses say how a request gets there."""

    dynamodb: "DynamoDBClient"
    orders_table: str
    products_table: str
    _ids = itertools.count()

    @abstractmethod
    def send(
        self, method: str, path: str, user: User, *, content: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send one request, its path without the stage, with a valid token of `user`."""

    def call(
        self, method: str, path: str, user: User, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """`send`, with a JSON body."""
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
        """Put a product up for sale and return its id, a new one where none is given."""
        product_id = product_id or f"product-{next(self._ids)}-{uuid.uuid4().hex[:8]}"
        body = {"name": name, "unitPrice": unit_price, "currency": currency, "stock": stock}
        reply = self.call("PUT", f"/admin/products/{product_id}", ADMIN, body)
        assert reply.status == 200, reply
        return product_id

    def write_product(self, product_id: str, **attributes: str | int) -> None:
        """Write a product past the API, as another service would."""
        item = {name: {"S": v} if isinstance(v, str) else {"N": str(v)} for name, v in attributes.items()}
        self.dynamodb.put_item(TableName=self.products_table, Item={"productId": {"S": product_id}, **item})

    def write_order(self, order_id: str, **attributes: str | int) -> None:
        """Change attributes of an order past the API, as an earlier release may have written them."""
        self.dynamodb.update_item(
            TableName=self.orders_table,
            Key={"orderId": {"S": order_id}},
            AttributeUpdates={
                name: {"Value": {"S": v} if isinstance(v, str) else {"N": str(v)}} for name, v in attributes.items()
            },
        )

    def remove_product(self, product_id: str) -> None:
        """Delete a product past the API."""
        self.dynamodb.delete_item(TableName=self.products_table, Key={"productId": {"S": product_id}})

    def order(self, *lines: tuple[str, int], user: User = ALICE) -> str:
        """Place an order for `(product id, quantity)` lines and return its id."""
        items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in lines]
        reply = self.call("POST", "/orders", user, {"items": items})
        assert reply.status == 201, reply
        order_id: str = reply.body["orderId"]
        return order_id

    def pay(self, order_id: str, card: str | None = None, *, user: User = ALICE, key: str | None = None) -> Reply:
        """Pay an order, with the card that the service assumes where none is given."""
        return self.call(
            "POST",
            f"/orders/{order_id}/payment",
            user,
            None if card is None else {"paymentMethodId": card},
            headers=None if key is None else {"Idempotency-Key": key},
        )

    def override(self, order_id: str, status: str, *, reason: str = "Paid by bank transfer.") -> Reply:
        """Settle an order by hand."""
        return self.call("PUT", f"/admin/orders/{order_id}/status", ADMIN, {"status": status, "reason": reason})

    def pages(self, listing: str, user: User, *, limit: int | None = None) -> list[list[dict[str, Any]]]:
        """All pages of `orders` or `products`."""
        pages, cursor = [], None
        while True:
            query = urlencode({name: value for name, value in (("limit", limit), ("cursor", cursor)) if value})
            reply = self.call("GET", f"/{listing}?{query}" if query else f"/{listing}", user)
            assert reply.status == 200, reply
            pages.append(reply.body[listing])
            cursor = reply.body["cursor"]
            if cursor is None:
                return pages

    def status(self, order_id: str, user: User = ALICE) -> dict[str, Any]:
        """The status object of an order."""
        reply = self.call("GET", f"/orders/{order_id}/status", user)
        assert reply.status == 200, reply
        body: dict[str, Any] = reply.body
        return body

    def stock(self, product_id: str) -> Stock:
        """What there is of a product."""
        reply = self.call("GET", f"/products/{product_id}", ALICE)
        assert reply.status == 200, reply
        return Stock(reply.body["stock"], reply.body["reserved"], reply.body["available"])
