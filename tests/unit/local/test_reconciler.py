"""Unsettled orders as `./shop reconcile` reports them, and `--wait`."""

from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from local import cli
from local.shop import reconciler
from order_payments.payments import LEASE
from order_payments.runtime.clock import rfc3339, utc_now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([], "nothing in flight"),
        ([44], "1 in flight, settles in 44 s"),
        ([3, 3], "2 in flight, settle in 3 s"),
        ([3, 44], "2 in flight, settle in 3 to 44 s"),
        ([0], "1 tried and not settled yet"),
        ([0, 0, 7], "1 in flight, settles in 7 s; 2 tried and not settled yet"),
    ],
)
def test_unsettled_orders_are_described_with_their_time(seconds: list[int], text: str) -> None:
    assert reconciler.describe_unsettled(seconds) == text


def test_time_to_settle_is_what_is_left_of_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    started = [now - timedelta(seconds=1), now - LEASE - timedelta(minutes=1)]
    pages = [{"Items": [{"unsettledSince": {"S": rfc3339(moment)}}]} for moment in started]

    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, **_: Any) -> list[dict[str, Any]]:
            return pages

        def close(self) -> None:
            pass

    monkeypatch.setattr("local.emulator.process.make_client", lambda *_: Client())
    description = {"awsEndpointUrl": "http://emulator", "tables": {"orders": "orders"}}

    overdue, in_flight = reconciler.seconds_to_settle(description)

    assert overdue == 0
    assert LEASE.seconds - 10 < in_flight <= LEASE.seconds


def test_wait_runs_again_when_an_attempt_can_be_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = iter([{"settled": 0}, {"settled": 0}, {"settled": 2}])
    unsettled = iter([[44, 60], [0, 16], []])
    waits: list[str] = []
    pauses: list[float] = []
    monkeypatch.setattr(reconciler, "run", lambda _: next(tallies))
    monkeypatch.setattr(reconciler, "seconds_to_settle", lambda _: next(unsettled))

    assert reconciler.settle_all({}, waits.append, pauses.append) == {"settled": 2}
    assert pauses == [44, 5]
    assert waits[0] == "2 in flight, settle in 44 to 60 s"


@pytest.mark.parametrize(
    ("arguments", "unsettled", "shown"),
    [
        ([], [[44]], ["settled 0", "1 in flight, settles in 44 s", "To wait for the outcome: ./shop reconcile --wait"]),
        ([], [[]], ["settled 0", "nothing in flight"]),
        (["--wait"], [[], []], ["settled 0", "nothing in flight"]),
    ],
)
def test_reconcile_prints_what_stays_in_flight(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], unsettled: list[list[int]], shown: list[str]
) -> None:
    results = iter(unsettled)
    monkeypatch.setattr("local.running.find_running_stack", dict)
    monkeypatch.setattr(reconciler, "run", lambda _: {"settled": 0})
    monkeypatch.setattr(reconciler, "seconds_to_settle", lambda _: next(results))

    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["reconcile", *arguments])

    assert result.output.splitlines() == shown
