"""The `sh` blocks of the documents succeed as printed, on the tests' stack instead of that of `make run`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line.project import PROJECT
from local.shop import catalogue, seed
from local.shop.client import bearer
from local.stack import Stack

PRINTED_ORIGIN = "http://127.0.0.1:3000"
NOT_RUN = {
    "README.md": [
        "make run",  # starts the stack that all other blocks use
        "make deploy",  # needs an AWS account
    ],
    "docs/local-stack.md": [
        "STRIPE_BACKEND=api",  # starts another stack; test_stripe_server.py starts one like it
        "curl -u sk_test_dummy:",  # calls the server of that stack
    ],
}
"""The first command of each block that is not run here."""

NOT_COPIED = shutil.ignore_patterns(".git", ".local", ".venv*", ".aws-sam", ".*_cache", ".hypothesis", "__pycache__")


@pytest.fixture(scope="module")
def checkout(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a copy of the project in which `make` and `./shop` find the tests' stack, with the sample catalogue."""
    copy = tmp_path_factory.mktemp("documented") / "checkout"
    shutil.copytree(PROJECT, copy, ignore=NOT_COPIED, symlinks=True)
    (copy / ".venv").symlink_to(PROJECT / ".venv")
    (copy / ".local").symlink_to(stack.state)
    with stack.publish_description(), stack.http() as api:
        api.headers.update(bearer(stack.tokens["admin"]))
        assert not seed.load(api, catalogue.read(catalogue.SAMPLE)).bad
        yield copy


def blocks(document: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (PROJECT / document).read_text(), re.MULTILINE | re.DOTALL)


def run(document: str, checkout: Path, stack: Stack) -> str:
    """Run the blocks of a document in one shell, and return what they print. Fails at the first command that fails."""
    script = "".join(block for block in blocks(document) if not block.startswith(tuple(NOT_RUN.get(document, ()))))
    origin = httpx.URL(stack.api_url).copy_with(path="/")
    result = subprocess.run(
        ["sh", "-eu", "-c", script.replace(PRINTED_ORIGIN, str(origin).rstrip("/"))],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name != "PORT"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def bodies(printed: str) -> list[dict[str, Any]]:
    """Return the JSON bodies in what was printed, one per line."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("document", ["README.md", "docs/api.md"])
def test_requests_of_the_document_succeed_as_printed(document: str, checkout: Path, stack: Stack) -> None:
    responses = bodies(run(document, checkout, stack))

    assert len(responses) == "".join(blocks(document)).count(r"curl -s -w '\n'")
    assert [response for response in responses if "code" in response] == []
    assert responses[-1]["status"] == "confirmed"


def test_shop_commands_of_the_document_succeed_as_printed(checkout: Path, stack: Stack) -> None:
    assert run("docs/local-stack.md", checkout, stack)


@pytest.mark.parametrize("document", NOT_RUN)
def test_blocks_that_are_not_run_exist(document: str) -> None:
    for command in NOT_RUN[document]:
        assert sum(block.startswith(command) for block in blocks(document)) == 1, command
