"""The running stack's shop, as one of its users sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from local.errors import StackError
from local.stack import running_description
from order_payments.dummy_stripe.currencies import as_number

_REQUEST_SECONDS = 150


@contextmanager
def visit(user: str) -> Iterator[httpx.Client]:
    """A client of the running stack's API with the token of `buyer`, `buyer2`, `seller` or `admin`."""
    description = describe_running_stack()
    tokens = description["tokens"]
    if user not in tokens:
        raise StackError(f"There is no user {user!r}. The run has tokens of: {', '.join(tokens)}.")
    with httpx.Client(
        base_url=description["apiUrl"], headers=bearer(tokens[user]), timeout=_REQUEST_SECONDS, trust_env=False
    ) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            raise StackError(f"The stack stopped answering ({error}). Start it again: make run") from error


def describe_running_stack() -> dict[str, Any]:
    """The content of `stack.json`. Raises `StackError` where no stack is running."""
    description = running_description()
    if description is None:
        raise StackError("No stack is running. Start it in another terminal: make run")
    return description


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def expect(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The response's JSON body. Raises `StackError` if it has another status."""
    if response.status_code not in statuses:
        request = response.request
        is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
        said = "{code}: {detail}".format_map(response.json()) if is_problem else response.text
        raise StackError(f"{request.method} {request.url} answered {response.status_code}. {said}")
    body: dict[str, Any] = response.json()
    return body


def newest_orders(shop: httpx.Client, count: int) -> Iterator[dict[str, Any]]:
    """Up to `count` of the user's own orders, the newest first."""
    cursor: str | None = None
    while count > 0:
        query = {"limit": min(count, 100)} | ({"cursor": cursor} if cursor else {})
        page = expect(shop.get("/orders", params=query), 200)
        yield from page["orders"]
        count -= len(page["orders"])
        cursor = page["cursor"]
        if cursor is None:
            return


def money(amount: int, currency: str) -> str:
    """An amount for people, `45.99 USD`."""
    return f"{as_number(amount, currency)} {currency.upper()}"
