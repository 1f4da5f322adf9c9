"""The stack with a user pool of its own: users sign in with Cognito, and their groups say what they may."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from local.stack import Stack, running_stack
from tests.support.http_shop import HttpShop

PASSWORD = "Correct-Horse-7"
OF_THE_POOL = {"IdentityProvider": "cognito", **dict.fromkeys(("JwtIssuer", "JwtAudience", "JwtJwks"), "")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack-with-cognito")
    with running_stack(state=state, enforce_policies=True, parameters=OF_THE_POOL) as running:
        let_the_authorizer_find_the_pools_keys(running)
        yield running


def outputs(stack: Stack) -> dict[str, str]:
    with closing(stack.client("cloudformation")) as client:
        (found,) = client.describe_stacks(StackName="order-payments")["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}


def let_the_authorizer_find_the_pools_keys(stack: Stack) -> None:
    """The emulator has them, rather than the address that a pool has on AWS. The issuer stays Cognito's."""
    with closing(stack.client("lambda")) as client:
        (function,) = [f for f in client.list_functions()["Functions"] if "Authorizer" in f["FunctionName"]]
        variables = function["Environment"]["Variables"]
        address = variables["JWT_JWKS_URL"]
        assert address == f"{variables['JWT_ISSUER']}/.well-known/jwks.json"
        there = f"{stack.emulator.endpoint_url}/{address.partition('.amazonaws.com/')[2]}"
        name = function["FunctionName"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "JWT_JWKS_URL": there}}
        )
        version = client.publish_version(FunctionName=name)["Version"]
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)


class Pool:
    """The pool's administrator."""

    def __init__(self, stack: Stack) -> None:
        self._client = stack.client("cognito-idp")
        self._pool = outputs(stack)["UserPoolId"]
        self._app = outputs(stack)["UserPoolClientId"]

    def client_for_tests(self, app: str | None = None) -> str:
        """The shop's app client, or another, which lets an administrator sign users in: tests speak no SRP."""
        flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
        if app is None:
            self._client.update_user_pool_client(
                UserPoolId=self._pool, ClientId=self._app, ExplicitAuthFlows=[*flows, "ALLOW_USER_SRP_AUTH"]
            )
            return self._app
        made = self._client.create_user_pool_client(UserPoolId=self._pool, ClientName=app, ExplicitAuthFlows=flows)
        return str(made["UserPoolClient"]["ClientId"])

    def tokens(self, email: str, *groups: str, app: str | None = None) -> dict[str, str]:
        """The tokens of a new user in these groups, who has signed in."""
        user = {"UserPoolId": self._pool, "Username": email}
        self._client.admin_create_user(**user, MessageAction="SUPPRESS")
        self._client.admin_set_user_password(**user, Password=PASSWORD, Permanent=True)
        for group in groups:
            self._client.admin_add_user_to_group(**user, GroupName=group)
        answer: dict[str, Any] = self._client.admin_initiate_auth(
            UserPoolId=self._pool,
            ClientId=self.client_for_tests(app),
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return answer

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def pool(stack: Stack) -> Iterator[Pool]:
    with closing(Pool(stack)) as pool:
        yield pool


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Iterator[HttpShop]:
    with closing(HttpShop(stack)) as shop:
        yield shop


def test_a_buyer_who_signed_in_with_cognito_orders_and_pays(shop: HttpShop, pool: Pool) -> None:
    admin = pool.tokens("ada@example.com", "admin")["AccessToken"]
    buyer = pool.tokens("alice@example.com", "buyer")["AccessToken"]
    product = '{"name":"Green tea","unitPrice":4599,"currency":"usd","stock":3}'
    assert shop.send_with(admin, "PUT", "/admin/products/tea", content=product).status == 200

    placed = shop.send_with(buyer, "POST", "/orders", content='{"items":[{"productId":"tea","quantity":1}]}')
    paid = shop.send_with(buyer, "POST", f"/orders/{placed.body['orderId']}/payment")

    assert (placed.status, paid.status, paid.body["status"]) == (201, 200, "confirmed")
    assert shop.send_with(admin, "GET", f"/orders/{placed.body['orderId']}/status").status == 200


def test_groups_say_what_a_user_may(shop: HttpShop, pool: Pool) -> None:
    order = '{"items":[{"productId":"tea","quantity":1}]}'
    seller = pool.tokens("sam@example.com", "seller")["AccessToken"]
    nobody = pool.tokens("noah@example.com")["AccessToken"]

    for token in (seller, nobody):
        assert shop.send_with(token, "GET", "/products").status == 200
        assert shop.send_with(token, "POST", "/orders", content=order).status == 403
        assert shop.send_with(token, "PUT", "/admin/products/tea", content="{}").status == 403


def test_no_other_token_of_the_pool_opens_anything(shop: HttpShop, pool: Pool, stack: Stack) -> None:
    tokens = pool.tokens("bob@example.com", "buyer")
    of_another_app = pool.tokens("carol@example.com", "buyer", app="another")["AccessToken"]
    head, payload, signature = tokens["AccessToken"].split(".")
    tampered = f"{head}.{payload}.{signature[:-6]}AAAAAA"

    for token in (tokens["IdToken"], tokens["RefreshToken"], of_another_app, tampered, stack.tokens["buyer"]):
        assert shop.send_with(token, "GET", "/products").status == 401
