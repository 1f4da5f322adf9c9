"""The sample catalogue, loaded through the public API like any admin would."""

import json
from pathlib import Path
from typing import Any

import httpx

from local.errors import StackError

CATALOGUE = Path(__file__).with_name("catalogue.json")


def catalogue() -> list[dict[str, Any]]:
    """The sample products, as `PUT /admin/products/{productId}` takes them, with their `productId`."""
    products: list[dict[str, Any]] = json.loads(CATALOGUE.read_text())
    return products


def load_catalogue(api: httpx.Client, admin_token: str) -> None:
    """Put every sample product."""
    for product in catalogue():
        body = {name: value for name, value in product.items() if name != "productId"}
        expect(
            api.put(f"/admin/products/{product['productId']}", json=body, headers=bearer(admin_token)),
            httpx.codes.OK,
        )


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def expect(response: httpx.Response, status: int) -> dict[str, Any]:
    """The response's JSON body. Raises `StackError` if it has another status."""
    if response.status_code != status:
        request = response.request
        raise StackError(f"{request.method} {request.url} answered {response.status_code}:\n{response.text}")
    body: dict[str, Any] = response.json()
    return body
