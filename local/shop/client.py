"""The running stack's shop, as one of its users sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import httpx

from command_line.errors import CommandError
from local.running import require_running_stack
from order_payments.domain.orders import is_order_id

_REQUEST_SECONDS = 150
_OF_OLD_TOKENS = "The tokens of a run are good for twelve hours. Start the stack again: make run"


class Buyer(StrEnum):
    """Who can have orders and pay them, by the names of their tokens in `stack.json`."""

    BUYER = "buyer"
    BUYER2 = "buyer2"

    @property
    def other(self) -> "Buyer":
        return Buyer.BUYER2 if self is Buyer.BUYER else Buyer.BUYER


@contextmanager
def open_api_client(user: str) -> Iterator[httpx.Client]:
    """A client of the running stack's API with the token of `buyer`, `buyer2`, `seller` or `admin`."""
    description = require_running_stack()
    headers = bearer(description["tokens"][user])
    with httpx.Client(
        base_url=description["apiUrl"], headers=headers, timeout=_REQUEST_SECONDS, trust_env=False
    ) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            raise CommandError(f"The stack stopped answering ({error}). Start it again: make run") from error


def require_order_id(text: str) -> None:
    """Raise `CommandError` for what cannot be an order's id, with where to find one."""
    if not is_order_id(text):
        named = repr(text) if text else "An empty text"
        raise CommandError(
            f"{named} is no order's id, which is ord_ and 32 of 0-9 and a-f. The orders that there are: ./shop orders"
        )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def expect(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The response's JSON body. Raises `CommandError` if it has another status."""
    if response.status_code not in statuses:
        request = response.request
        is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
        said = "{code}: {detail}".format_map(response.json()) if is_problem else response.text
        advice = f"\n{_OF_OLD_TOKENS}" if response.status_code == HTTPStatus.UNAUTHORIZED else ""
        raise CommandError(f"{request.method} {request.url} answered {response.status_code}. {said}{advice}")
    body: dict[str, Any] = response.json()
    return body


def newest_orders(shop: httpx.Client, count: int) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while count > 0:
        query = {"limit": min(count, 100)} | ({"cursor": cursor} if cursor else {})
        page = expect(shop.get("/orders", params=query), 200)
        yield from page["orders"]
        count -= len(page["orders"])
        cursor = page["cursor"]
        if cursor is None:
            return


def suggest_next_step(order_id: str, buyer: Buyer, code: str, status: str | None) -> str | None:
    """What a buyer can do next, by the answer's error `code` (empty for a success) and the order's status."""
    match code, status:
        case "", "pending":
            return "Stripe did not tell the outcome. It is settled within two minutes, or sooner: ./shop reconcile"
        case "", _:
            return None
        case "order_not_found", _:
            return f"The orders that there are: ./shop orders --as {buyer}"
        case "forbidden", _:
            return f"Pay it as the other buyer: ./shop pay {order_id} --as {buyer.other}"
        case "payment_in_progress", _:
            return f"See in a moment what became of it: ./shop orders --as {buyer}"
        case "unauthorized", _:
            return _OF_OLD_TOKENS
        case _, "confirmed" | "cancelled":
            return "An order is paid once. Place another one at the console, or as the README shows"
        case _:
            return f"It can be paid again: ./shop pay {order_id} --as {buyer}. What happened: .local/logs/functions.log"
