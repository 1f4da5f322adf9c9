"""The deployed stack, for every test that wants one: it is started once, by the first of them."""

from collections.abc import Iterator

import pytest

from local.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of `template.yaml`, as `make run` has it, on free ports and with a state directory of its own."""
    with running_stack(state=tmp_path_factory.mktemp("stack")) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist (`-n 2 --dist loadgroup`) let one worker run all tests of the stack: one stack is enough."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))
