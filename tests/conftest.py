"""The deployed stack, for every test that wants one: it is started once, by the first of them."""

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


def pytest_itemcollected(item: pytest.Item) -> None:
    """Under pytest-xdist (`-n 2 --dist loadgroup`) let one worker run all tests of the stack: one stack is enough.

    Done here because xdist reads the groups before our `pytest_collection_modifyitems` would run.
    """
    # A test that runs twice names its second engine as a parameter, not as a fixture.
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if "stack" in getattr(item, "fixturenames", ()) or "end_to_end" in parameters:
        item.add_marker(pytest.mark.xdist_group("stack"))
