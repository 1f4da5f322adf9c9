"""Expansion of ids to objects in a response: the parameter `expand`.

https://docs.stripe.com/api/expanding_objects
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dummy_stripe import refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Expansion = Mapping[str, "Expansion"]
    """The fields to expand, each with the fields to expand in its object."""

_MAXIMUM_DEPTH = 4

NO_EXPANSION: Final[Expansion] = {}

EXPANDABLE: Final[Mapping[str, Mapping[str, str | None]]] = {
    "payment_intent": {
        **dict.fromkeys(
            """
            amount_details application automatic_payment_methods customer last_payment_error managed_payments
            next_action on_behalf_of payment_method_options payment_record processing review shipping source
            transfer_data
            """.split()
        ),
        "latest_charge": "charge",
        "payment_method": "payment_method",
    },
    "charge": {
        **dict.fromkeys(
            """
            application application_fee balance_transaction billing_details customer failure_balance_transaction
            fraud_details on_behalf_of outcome payment_method_details radar_options review shipping source_transfer
            transfer transfer_data
            """.split()
        ),
        "payment_intent": "payment_intent",
        "refunds": "refund_list",
    },
    "payment_method": dict.fromkeys("billing_details card customer radar_options".split()),
    "refund": {
        **dict.fromkeys(
            """
            balance_transaction customer destination_details failure_balance_transaction next_action
            source_transfer_reversal transfer_reversal
            """.split()
        ),
        "charge": "charge",
        "payment_intent": "payment_intent",
        "payment_method": "payment_method",
    },
    "refund_list": {"data": "refund"},
}
"""The fields that Stripe accepts in `expand`, by object, and the objects they lead to.

None stands for a field that the dummy shows without expansion, or that is null in all its objects.
"""


def read_expansion(paths: Iterable[str], kind: str, *, in_list: bool = False) -> Expansion:
    """Return what `paths`, as `latest_charge.refunds`, expand in an object `kind`. In a list they begin with `data.`.

    Raises `Refusal` for a field that cannot be expanded.
    """
    expansion: dict[str, Expansion] = {}
    for path in paths:
        fields = path.split(".")
        if len(fields) > _MAXIMUM_DEPTH:
            raise refusals.not_expandable(path)
        if in_list and fields[0] != "data":
            raise refusals.not_expandable(fields[0], in_list=True)
        _add(expansion, kind, fields[1:] if in_list else fields)
    return expansion


def _add(expansion: dict[str, Any], kind: str | None, fields: list[str]) -> None:
    for depth, field in enumerate(fields, start=1):
        known = EXPANDABLE.get(kind or "", {})
        if field not in known:
            raise refusals.not_expandable(".".join(fields[:depth]))
        kind = known[field]
        expansion = expansion.setdefault(field, {})
