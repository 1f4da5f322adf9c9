"""What `./shop audit` and `./shop repair` refuse before they ask anybody."""

import pytest
from typer.testing import CliRunner

from local import cli
from local.errors import StackError


@pytest.mark.parametrize("command", ["audit", "repair"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "--since must be a time like"),
        (["--stack-name", "shop", "--look-again", "0"], "--look-again must be 30 or more on AWS"),
    ],
    ids=["no time", "too soon"],
)
def test_what_cannot_be_meant_is_refused(command: str, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(cli.app, [command, *arguments])

    assert isinstance(result.exception, StackError)
    assert said in str(result.exception)
