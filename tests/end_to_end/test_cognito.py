"""The stack with a user pool of its own: users sign in with Cognito, and their groups say what they may."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from local.stack import Stack, running_stack
from tests.support.http_shop import HttpShop
from tests.support.shop import Reply
from tests.support.user_pool import OF_THE_POOL, UserPool, buy_tea, let_the_authorizer_find_the_pools_keys


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack-with-cognito")
    with running_stack(state=state, enforce_policies=True, parameters=OF_THE_POOL) as running:
        yield running


@pytest.fixture(scope="module")
def early(stack: Stack) -> tuple[str, Reply]:
    """A buyer's token, and the reply to it before the authorizer can fetch the pool's keys."""
    with closing(UserPool(stack)) as pool, closing(HttpShop(stack)) as shop:
        token = pool.tokens("eve@example.com", "buyer")["AccessToken"]
        return token, shop.send_with(token, "GET", "/products")


@pytest.fixture(scope="module")
def pool(stack: Stack, early: tuple[str, Reply]) -> Iterator[UserPool]:
    assert early
    let_the_authorizer_find_the_pools_keys(stack)
    with closing(UserPool(stack)) as pool:
        yield pool


@pytest.mark.usefixtures("pool")
def test_token_fails_with_500_until_the_issuers_keys_can_be_fetched(shop: HttpShop, early: tuple[str, Reply]) -> None:
    token, reply = early

    assert (reply.status, reply.code) == (500, "internal_error")
    # API Gateway does not cache the failure.
    assert shop.send_with(token, "GET", "/products").status == 200


def test_a_buyer_who_signed_in_with_cognito_orders_and_pays(shop: HttpShop, pool: UserPool) -> None:
    placed, paid, admin = buy_tea(shop, pool)

    assert (placed.status, paid.status, paid.body["status"]) == (201, 200, "confirmed")
    assert shop.send_with(admin, "GET", f"/orders/{placed.body['orderId']}/status").status == 200


def test_groups_say_what_a_user_may(shop: HttpShop, pool: UserPool) -> None:
    order = '{"items":[{"productId":"tea","quantity":1}]}'
    seller = pool.tokens("sam@example.com", "seller")["AccessToken"]
    nobody = pool.tokens("noah@example.com")["AccessToken"]

    for token in (seller, nobody):
        assert shop.send_with(token, "GET", "/products").status == 200
        assert shop.send_with(token, "POST", "/orders", content=order).status == 403
        assert shop.send_with(token, "PUT", "/admin/products/tea", content="{}").status == 403


def test_no_other_token_of_the_pool_opens_anything(shop: HttpShop, pool: UserPool, stack: Stack) -> None:
    tokens = pool.tokens("bob@example.com", "buyer")
    of_another_app = pool.tokens("carol@example.com", "buyer", app="another")["AccessToken"]
    head, payload, signature = tokens["AccessToken"].split(".")
    tampered = f"{head}.{payload}.{signature[:-6]}AAAAAA"

    for token in (tokens["IdToken"], tokens["RefreshToken"], of_another_app, tampered, stack.tokens["buyer"]):
        assert shop.send_with(token, "GET", "/products").status == 401
