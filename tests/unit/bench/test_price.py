"""Price of a million payments: each part of the bill, with round prices."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.price import Invocations, Usage, dollars, family, read_prices

TABLE = Path(__file__).parents[3] / "bench" / "prices.json"

ONE_PROCESSOR_MB = 1769
PRICES = {
    "api_gateway_request": 0.000_010,
    "lambda_request": 0.000_001,
    "lambda_gb_second_arm64": 0.000_100,
    "lambda_gb_second_x86_64": 0.000_200,
    "dynamodb_write_unit": 0.000_003,
    "dynamodb_read_unit": 0.000_002,
    "logs_gb": 0.5,
    "xray_trace": 0.000_008,
}
FUNCTION = Invocations(1, processor_seconds=0, waiting_seconds=1, log_bytes=0)
WORDY = replace(FUNCTION, log_bytes=2000)
NOTHING = Usage(requests=0, functions=[], read_units=0, write_units=0, traces=0)


def price(usage: Usage, memory_mb: int = 1024, architecture: str = "arm64") -> dict[str, float]:
    """Return the price of each service that is not free."""
    services = dollars(usage, PRICES, memory_mb=memory_mb, architecture=architecture)
    return {service: pytest.approx(price) for service, price in services.items() if price}


@pytest.mark.parametrize(
    ("usage", "bill"),
    [
        (NOTHING, {}),
        (replace(NOTHING, requests=2), {"API Gateway": 20}),
        (replace(NOTHING, read_units=1.5), {"DynamoDB": 3}),
        (replace(NOTHING, write_units=8), {"DynamoDB": 24}),
        (replace(NOTHING, read_units=1, write_units=1), {"DynamoDB": 5}),
        (replace(NOTHING, traces=0.25), {"X-Ray": 2}),
        (replace(NOTHING, functions=[FUNCTION]), {"Lambda": 1 + 100}),
        (replace(NOTHING, functions=[FUNCTION, FUNCTION]), {"Lambda": 202}),
        (replace(NOTHING, functions=[replace(FUNCTION, number=0.5)]), {"Lambda": 50.5}),
        (replace(NOTHING, functions=[WORDY]), {"Lambda": 101, "CloudWatch Logs": 1}),
        (replace(NOTHING, functions=[replace(WORDY, number=2)]), {"Lambda": 202, "CloudWatch Logs": 2}),
    ],
)
def test_each_part_of_a_payment_is_priced(usage: Usage, bill: dict[str, float]) -> None:
    assert price(usage) == bill


def test_duration_is_priced_by_memory_and_architecture() -> None:
    usage = replace(NOTHING, functions=[FUNCTION])

    assert price(usage, 256) == {"Lambda": 1 + 25}
    assert price(usage, 1024, "x86_64") == {"Lambda": 1 + 200}


@pytest.mark.parametrize(
    ("memory_mb", "seconds"),
    [(ONE_PROCESSOR_MB, 0.5), (ONE_PROCESSOR_MB * 2, 0.5), (ONE_PROCESSOR_MB / 2, 0.6), (ONE_PROCESSOR_MB / 4, 0.8)],
)
def test_less_memory_slows_computing_but_not_waiting(memory_mb: int, seconds: float) -> None:
    function = Invocations(1, processor_seconds=0.1, waiting_seconds=0.4, log_bytes=0)

    assert function.seconds(memory_mb) == pytest.approx(seconds, abs=0.0011)


@pytest.mark.parametrize(("waiting", "billed"), [(0.0101, 0.011), (0.0109, 0.011), (0.0001, 0.001)])
def test_duration_is_rounded_up_to_a_millisecond(waiting: float, billed: float) -> None:
    assert replace(FUNCTION, waiting_seconds=waiting).seconds(1024) == billed


def test_prices_of_the_services_add_up_to_the_total() -> None:
    usage = Usage(2, [replace(FUNCTION, log_bytes=100)], read_units=1, write_units=8, traces=0.1)

    figures = {figure.name: figure.value for figure in family(usage, PRICES, looked_up="2026-11-24").figures}

    services = [value for name, value in figures.items() if name.startswith("a million payments, 512 MB: ")]
    assert len(services) == 5
    assert sum(services) == pytest.approx(figures["a million payments, 512 MB"])
    assert figures["a million payments, 512 MB, x86_64"] > figures["a million payments, 512 MB"]


def test_price_table_has_every_price_and_its_source() -> None:
    listed = json.loads(TABLE.read_text())["prices"]

    assert set(listed) == set(PRICES)
    assert all(price["page"].startswith("https://aws.amazon.com/") for price in listed.values())
    assert all(price["seen_at"].startswith("https://") for price in listed.values())


def test_prices_are_converted_to_one_unit(tmp_path: Path) -> None:
    table = tmp_path / "prices.json"
    table.write_text(json.dumps({"prices": {"a": {"dollars": 3.5, "each": 1_000_000}, "b": {"dollars": 2, "each": 1}}}))

    assert read_prices(table) == {"a": pytest.approx(0.0000035), "b": 2}
