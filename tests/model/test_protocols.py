"""The models of payments and refunds hold, and without any one of their rules they do not."""

import pytest

from tests.model import payments, refunds


def test_payments_hold_in_every_interleaving() -> None:
    result = payments.Protocol().check()

    assert result.fault is None, result.trace
    assert result.states > 15_000


@pytest.mark.parametrize("rule", payments.Rule)
def test_payments_without_a_rule_break(rule: payments.Rule) -> None:
    assert payments.Protocol(missing=rule).check().fault


@pytest.mark.parametrize("is_disputed", [False, True], ids=["accepted", "disputed"])
def test_refunds_hold_in_every_interleaving(is_disputed: bool) -> None:
    result = refunds.Protocol().check(is_disputed=is_disputed)

    assert result.fault is None, result.trace
    assert result.states > 1_000


@pytest.mark.parametrize("rule", refunds.Rule)
def test_refunds_without_a_rule_break(rule: refunds.Rule) -> None:
    assert any(refunds.Protocol(missing=rule).check(is_disputed=is_disputed).fault for is_disputed in (False, True))
