"""Creation of users in a Cognito user pool that refuses a step."""

from unittest.mock import MagicMock

import pytest
from botocore.exceptions import ClientError

from command_line.errors import CommandError
from operations.user_pool import UserPool


@pytest.mark.parametrize("step", ["admin_set_user_password", "admin_add_user_to_group"])
def test_user_whose_creation_fails_halfway_is_deleted(step: str) -> None:
    client = MagicMock()
    refusal = {"Error": {"Code": "InvalidPasswordException", "Message": "Password not long enough"}}
    getattr(client, step).side_effect = ClientError(refusal, step)

    with pytest.raises(CommandError, match="was not created: Password not long enough"):
        UserPool(client, "pool", "app").create_user("ada@example.com", "short", "admin")

    client.admin_delete_user.assert_called_once_with(UserPoolId="pool", Username="ada@example.com")


def test_existing_user_is_not_deleted() -> None:
    client = MagicMock()
    refusal = {"Error": {"Code": "UsernameExistsException", "Message": "User account already exists"}}
    client.admin_create_user.side_effect = ClientError(refusal, "AdminCreateUser")

    with pytest.raises(CommandError, match="already exists"):
        UserPool(client, "pool", "app").create_user("ada@example.com", "Correct-Horse-7", "admin")

    client.admin_delete_user.assert_not_called()
