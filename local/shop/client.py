"""HTTP client for the running stack, with error messages for the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import httpx

from command_line.errors import CommandError
from local.running import require_running_stack
from order_payments.domain.orders import is_order_id

_REQUEST_TIMEOUT_SECONDS = 150
_EXPIRY_ADVICE = "The tokens of a stack expire after twelve hours. Start the stack again: make run"


class Buyer(StrEnum):
    """The stack's buyers, by the names of their tokens in `stack.json`."""

    BUYER = "buyer"
    BUYER2 = "buyer2"

    @property
    def other(self) -> "Buyer":
        return Buyer.BUYER2 if self is Buyer.BUYER else Buyer.BUYER


@contextmanager
def open_api_client(user: str) -> Iterator[httpx.Client]:
    """Yield a client for the running stack's API with the token of `buyer`, `buyer2`, `seller` or `admin`."""
    description = require_running_stack()
    headers = bearer(description["tokens"][user])
    with httpx.Client(
        base_url=description["apiUrl"], headers=headers, timeout=_REQUEST_TIMEOUT_SECONDS, trust_env=False
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


def require_status(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    """Return the JSON body. Raises `CommandError` if the response has another status."""
    if response.status_code not in statuses:
        request = response.request
        is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
        problem = "{code}: {detail}".format_map(response.json()) if is_problem else response.text
        advice = f"\n{_EXPIRY_ADVICE}" if response.status_code == HTTPStatus.UNAUTHORIZED else ""
        raise CommandError(f"{request.method} {request.url} returned {response.status_code}. {problem}{advice}")
    body: dict[str, Any] = response.json()
    return body


def newest_orders(shop: httpx.Client, count: int) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while count > 0:
        query = {"limit": min(count, 100)} | ({"cursor": cursor} if cursor else {})
        page = require_status(shop.get("/orders", params=query), 200)
        yield from page["orders"]
        count -= len(page["orders"])
        cursor = page["cursor"]
        if cursor is None:
            return


def suggest_next_step(order_id: str, buyer: Buyer, code: str, status: str | None) -> str | None:
    """Return what the buyer can do next, given the response's error `code` (empty if none) and the order's status."""
    match code, status:
        case "", "pending":
            return (
                "Stripe did not report the outcome. The order is settled within two minutes, or run: ./shop reconcile"
            )
        case "", _:
            return None
        case "order_not_found", _:
            return f"List your orders: ./shop orders --as {buyer}"
        case "forbidden", _:
            return f"Pay as the other buyer: ./shop pay {order_id} --as {buyer.other}"
        case "payment_in_progress", _:
            return f"Check the outcome in a moment: ./shop orders --as {buyer}"
        case "unauthorized", _:
            return _EXPIRY_ADVICE
        case _, "confirmed" | "cancelled":
            return "An order can be paid once. Place another one in the console, or as the README shows"
        case _:
            return f"Pay it again: ./shop pay {order_id} --as {buyer}. For the cause, see .local/logs/functions.log"
