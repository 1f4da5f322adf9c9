"""The deployed stack, for every test that wants one: each process of pytest starts it once, on free ports."""

from collections.abc import Iterator

import pytest

from local.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of `template.yaml` as `make run` has it, with a state directory of its own and on free ports.

    The functions may do only what the template's policies say: a permission that is missing fails a test here.
    """
    with running_stack(state=tmp_path_factory.mktemp("stack"), enforce_policies=True) as running:
        yield running
