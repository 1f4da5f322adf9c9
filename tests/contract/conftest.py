"""Run the contract tests twice: on the functions over moto, and over HTTP on the deployed stack.

The functions run every case. Over HTTP a test runs only its first case, unless it is marked `every_case_over_http`
because the gateway or the authorizer could change the request or the response.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from local.stack import Stack
from tests.support.function_shop import FunctionShop
from tests.support.http_shop import HttpShop
from tests.support.moto import empty_tables, tables_on_moto
from tests.support.shop import Shop


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect all but the first case of a test over HTTP."""
    first: set[tuple[Path, str]] = set()
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        if not item.get_closest_marker("over_http") or item.get_closest_marker("every_case_over_http"):
            kept.append(item)
        elif (test := (item.path, item.name.partition("[")[0])) not in first:
            first.add(test)
            kept.append(item)
        else:
            deselected.append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = kept


@pytest.fixture(scope="module")
def loaded_functions() -> Iterator[Shop]:
    """Return a shop on the functions, over moto. A module loads each function once."""
    with pytest.MonkeyPatch.context() as monkeypatch, tables_on_moto() as dynamodb:
        FunctionShop.set_environment(monkeypatch)
        yield FunctionShop(dynamodb)


@pytest.fixture
def functions(loaded_functions: Shop) -> Shop:
    """Return a shop on the functions, with empty tables."""
    empty_tables()
    return loaded_functions


@pytest.fixture(scope="session")
def end_to_end(stack: Stack) -> Iterator[Shop]:
    """Return a shop on the deployed stack, over HTTP."""
    with closing(HttpShop(stack)) as shop:
        yield shop


@pytest.fixture(params=["functions", pytest.param("end_to_end", marks=pytest.mark.over_http)])
def shop(request: pytest.FixtureRequest) -> Shop:
    """Return each shop that the test runs on."""
    shop: Shop = request.getfixturevalue(request.param)
    return shop
