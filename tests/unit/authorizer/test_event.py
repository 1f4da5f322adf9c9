"""The authorizer's sample event for `sam local invoke` has a token that `env.local.json` trusts."""

import json

from local.sam_local.sam import ENV_VARS, EVENTS
from tests.unit.authorizer.conftest import Start


def test_sample_event_is_allowed(start: Start) -> None:
    variables = json.loads(ENV_VARS.read_text())["Parameters"]
    event = json.loads((EVENTS / "authorizer.json").read_text())

    response = start(**{name: value for name, value in variables.items() if name.startswith("JWT_")})(event)

    assert response["context"] == {"sub": "alice", "loggedUserId": "alice", "roles": "admin buyer", "exp": "4102444800"}
    (statement,) = response["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert event["methodArn"] in statement["Resource"]
