"""The JSON Schemas of the events that we publish, made of their models, for those who take them."""

import json
from typing import Any

from command_line.project import PROJECT
from order_payments.events.order_events import DETAIL_TYPES, EVENT_VERSION, SOURCE, OrderEventDetail

ORDER = PROJECT / "docs" / "events" / f"order.v{EVENT_VERSION}.schema.json"


def order() -> dict[str, Any]:
    """The schema of the detail of all events of an order."""
    schema = OrderEventDetail.model_json_schema(by_alias=True, mode="serialization")
    for each in (schema, *schema["$defs"].values()):
        _let_it_grow(each)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"Detail of {', '.join(DETAIL_TYPES.values())} from {SOURCE}, version {EVENT_VERSION}",
    }


def text() -> str:
    return json.dumps(order(), indent=2, ensure_ascii=False) + "\n"


def _let_it_grow(schema: dict[str, Any]) -> None:
    """Let a version have more fields later: who checks events by the schema of today goes on taking them.

    And without the titles that pydantic makes up of names.
    """
    schema.pop("additionalProperties", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
