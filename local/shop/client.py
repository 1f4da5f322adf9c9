"""Users of the running stack, and the HTTP client of the commands with its error messages."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import jwt

from command_line.errors import CommandError
from command_line.project import STATE
from local.running import require_running_stack
from local.stack import USERS
from local.tokens import TokenIssuer
from order_payments.domain.identity import Role
from order_payments.domain.orders import is_order_id
from order_payments.runtime.clock import rfc3339, utc_now

_REQUEST_TIMEOUT_SECONDS = 150
SAMPLE_PRODUCT = "espresso-cup"
"""A product for examples. `make run` loads it, and products cannot be deleted."""

_NAMES = {sub: name for name, (sub, _) in USERS.items()}
_TOKEN_ADVICE = "Use a user's name instead of the token (--as buyer), or print another token: ./shop token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Account:
    """A user who calls the API: the user id, the roles and a token."""

    sub: str
    roles: tuple[str, ...]
    token: str

    @property
    def buyer_options(self) -> str:
        """Options that select this user in a command for buyers. Without the role, those of the default buyer."""
        return options_of(self.sub) if Role.BUYER in self.roles else ""


def sign_in(user: str, token: str | None = None, *, role: Role = Role.BUYER) -> Account:
    """Return the account of `token`, or of a user with a new token of the running stack.

    `user` is a name in `USERS`, or any other user id, which gets `role`.
    """
    description = require_running_stack()
    if token is not None:
        return _read_token(token)
    if not user.strip():
        raise CommandError("--as needs a user. Name one of buyer, buyer2, seller and admin, or any user id.")
    sub, roles = USERS.get(user, (user, USERS[_NAMES[user]][1] if user in _NAMES else (role.value,)))
    return Account(sub, roles, load_issuer(description).token(sub, roles))


def load_issuer(description: Mapping[str, Any]) -> TokenIssuer:
    """Return the token issuer of the stack that `stack.json` describes."""
    return TokenIssuer.load(
        STATE / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
    )


def _read_token(token: str) -> Account:
    """Return the account of a token. The API verifies it."""
    try:
        claims = jwt.decode(token.strip(), options={"verify_signature": False})
        return Account(str(claims["sub"]), tuple(map(str, claims.get("roles", ()))), token.strip())
    except (jwt.PyJWTError, KeyError, TypeError):
        raise CommandError(f"--token is not a token of a user. {_TOKEN_ADVICE}") from None


def options_of(sub: str) -> str:
    """Return the options of `./shop`, after a space, that select the buyer with this user id."""
    name = _NAMES.get(sub, sub)
    return "" if name == "buyer" else f" --as {shlex.quote(name)}"


@contextmanager
def open_api_client(account: Account) -> Iterator[httpx.Client]:
    """Yield a client for the running stack's API with the account's token."""
    with httpx.Client(
        base_url=require_running_stack()["apiUrl"],
        headers=bearer(account.token),
        timeout=_REQUEST_TIMEOUT_SECONDS,
        trust_env=False,
    ) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            raise CommandError(f"The stack stopped responding ({error}). Start it again: make run") from error


def require_order_id(text: str) -> None:
    """Raise `CommandError` if the text is not an order id."""
    if not is_order_id(text):
        raise CommandError(
            f"{text!r} is not an order id (ord_ and 32 hexadecimal digits in lower case). List orders: ./shop orders"
        )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def require_status(response: httpx.Response, *statuses: int, advice: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON body. Raises `CommandError` if the response has another status.

    `advice` is what to do about each error code.
    """
    if response.status_code not in statuses:
        request = response.request
        is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
        problem = response.json() if is_problem else {}
        lines = [describe_problem(problem) if is_problem else response.text]
        if code := problem.get("code"):
            known = {"unauthorized": _TOKEN_ADVICE, "busy": "Run the command again in a moment.", **(advice or {})}
            lines += [known[code]] if code in known else []
        text = "\n".join(lines)
        raise CommandError(f"{request.method} {request.url} returned {response.status_code}. {text}")
    body: dict[str, Any] = response.json()
    return body


def describe_problem(problem: Mapping[str, Any]) -> str:
    """Return the code and the detail of a problem, and below them its faults with their location."""
    faults = [fault for fault in problem.get("errors", ()) if fault["message"] != problem["detail"]]
    lines = [f"  {'.'.join(map(str, fault['location'][1:]))}: {fault['message']}" for fault in faults]
    return "\n".join([f"{problem['code']}: {problem['detail']}", *lines])


def list_all(
    shop: httpx.Client, path: str, *, limit: int = 100, advice: Mapping[str, str] | None = None, **filters: str
) -> Iterator[Any]:
    """Yield `orders` or `admin/orders` (newest first) or `products`, in pages of up to `limit`, as they are needed."""
    cursor: str | None = None
    while True:
        query = {"limit": str(min(limit, 100)), **filters} | ({"cursor": cursor} if cursor else {})
        page = require_status(shop.get(f"/{path}", params=query), 200, advice=advice)
        yield from page[path.removeprefix("admin/")]
        cursor = page["cursor"]
        if cursor is None:
            return


def is_payable(order: Mapping[str, Any]) -> bool:
    """Return whether an order is pending, has no payment attempt and has not expired."""
    has_expired = "expiresAt" in order and order["expiresAt"] <= rfc3339(utc_now())
    return order["status"] == "pending" and order["paymentIntentId"] is None and not has_expired


def suggest_order(account: Account) -> str:
    """Return how to place an order as the account's user, or as the default buyer."""
    return f"Place one: ./shop order {SAMPLE_PRODUCT}{account.buyer_options}"


def suggest_after_payment(order_id: str, code: str) -> str:
    """Return what to do after a payment without success. `code` is the response's error code, empty for 202."""
    match code:
        case "unauthorized":
            return _TOKEN_ADVICE
        case "insufficient_stock" | "amount_not_chargeable":
            return "Order other products or quantities. To list them: ./shop products"
    return suggest_for_unpaid(order_id)


def suggest_for_unpaid(order_id: str) -> str:
    """Return what can be done about an order in its current state. Reads it as an admin."""
    with open_api_client(sign_in("admin")) as shop:
        response = shop.get(f"/orders/{order_id}/status")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return "There is no such order. To list a buyer's orders: ./shop orders"
        order = require_status(response, 200)
    options = options_of(order["buyerId"])
    if is_payable(order):
        return f"Pay it as its buyer: ./shop pay {order_id}{options}"
    if order["status"] == "pending" and order["paymentIntentId"] is not None:
        return "Its payment is in flight. To wait for the outcome: ./shop reconcile --wait"
    return f"The order can no longer be paid. Place another one: ./shop order {SAMPLE_PRODUCT}{options}"
