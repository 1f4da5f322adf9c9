"""The users of a deployed stack with `IdentityProvider=cognito`."""

from typing import Any

from botocore.exceptions import ClientError

from command_line.errors import CommandError


class UserPool:
    """A stack's user pool, used with the permissions of its AWS account."""

    def __init__(self, client: Any, pool_id: str, app_client_id: str) -> None:
        self._client = client
        self._pool_id = pool_id
        self._app_client_id = app_client_id

    def create_user(self, email: str, password: str, role: str) -> None:
        """Create a user who can sign in at once, in the group of a role. Raises `CommandError` if AWS refuses."""
        user = {"UserPoolId": self._pool_id, "Username": email}
        attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
        try:
            self._client.admin_create_user(**user, UserAttributes=attributes, MessageAction="SUPPRESS")
            try:
                self._client.admin_set_user_password(**user, Password=password, Permanent=True)
                self._client.admin_add_user_to_group(**user, GroupName=role)
            except ClientError:
                # Otherwise a second try, with a stronger password for example, would find the user taken.
                self._client.admin_delete_user(**user)
                raise
        except ClientError as error:
            raise CommandError(f"The user was not created: {_message(error)}") from error

    def access_token(self, email: str, password: str) -> str:
        """Sign a user in. Raises `CommandError` if the password is wrong, or if the user has to do more than that."""
        try:
            response = self._client.admin_initiate_auth(
                UserPoolId=self._pool_id,
                ClientId=self._app_client_id,
                AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": email, "PASSWORD": password},
            )
        except ClientError as error:
            raise CommandError(f"{email} was not signed in: {_message(error)}") from error
        if challenge := response.get("ChallengeName"):
            raise CommandError(f"{email} was not signed in: Cognito asks for {challenge}, which needs an app.")
        return str(response["AuthenticationResult"]["AccessToken"])


def _message(error: ClientError) -> str:
    return str(error.response["Error"]["Message"])
