"""The user pool that the template creates with `IdentityProvider=cognito`, on the emulator."""

from contextlib import closing
from typing import Any

from local.stack import Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import Reply

PASSWORD = "Correct-Horse-7"  # of users that exist only on the emulator
COGNITO_PARAMETERS = {"IdentityProvider": "cognito", **dict.fromkeys(("JwtIssuer", "JwtAudience", "JwtJwks"), "")}
"""Stack parameters that select the user pool."""


def point_authorizer_at_emulator(stack: Stack) -> None:
    """Let the authorizer read the pool's keys from the emulator instead of AWS. The issuer stays Cognito's."""
    with closing(stack.client("lambda")) as client:
        (function,) = [f for f in client.list_functions()["Functions"] if "Authorizer" in f["FunctionName"]]
        variables = function["Environment"]["Variables"]
        address = variables["JWT_JWKS_URL"]
        assert address == f"{variables['JWT_ISSUER']}/.well-known/jwks.json"
        emulated = f"{stack.emulator.endpoint_url}/{address.partition('.amazonaws.com/')[2]}"
        name = function["FunctionName"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "JWT_JWKS_URL": emulated}}
        )
        version = client.publish_version(FunctionName=name)["Version"]
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)


class UserPool:
    """The user pool, used as its administrator."""

    def __init__(self, stack: Stack) -> None:
        self._client = stack.client("cognito-idp")
        outputs = stack.outputs()
        self._pool = outputs["UserPoolId"]
        self._app = outputs["UserPoolClientId"]

    def app_client(self, app: str | None = None) -> str:
        """Return the id of the shop's app client, or of a new one named `app`."""
        if app is None:
            return self._app
        flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
        made = self._client.create_user_pool_client(UserPoolId=self._pool, ClientName=app, ExplicitAuthFlows=flows)
        return str(made["UserPoolClient"]["ClientId"])

    def tokens(self, email: str, *groups: str, app: str | None = None) -> dict[str, str]:
        """Create a user in these groups, sign in, and return the tokens."""
        user = {"UserPoolId": self._pool, "Username": email}
        self._client.admin_create_user(**user, MessageAction="SUPPRESS")
        self._client.admin_set_user_password(**user, Password=PASSWORD, Permanent=True)
        for group in groups:
            self._client.admin_add_user_to_group(**user, GroupName=group)
        answer: dict[str, Any] = self._client.admin_initiate_auth(
            UserPoolId=self._pool,
            ClientId=self.app_client(app),
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return answer

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def offer_tea(shop: HttpShop, admin: str) -> None:
    """Create the product `tea` with an admin's token."""
    product = '{"name":"Green tea","unitPrice":4599,"currency":"usd","stock":3}'
    assert shop.send_with(admin, "PUT", "/admin/products/tea", content=product).status == 200


def buy_tea(shop: HttpShop, buyer: str) -> tuple[Reply, Reply]:
    """Order tea and pay for it with a buyer's token. Return both replies."""
    placed = shop.send_with(buyer, "POST", "/orders", content='{"items":[{"productId":"tea","quantity":1}]}')
    return placed, shop.send_with(buyer, "POST", f"/orders/{placed.body['orderId']}/payment")
