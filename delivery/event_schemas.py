"""JSON Schemas of the published events, generated from their models for consumers."""

import json
from typing import Any

from command_line.project import PROJECT
from order_payments.events.order_events import DETAIL_TYPES, EVENT_VERSION, SOURCE, OrderEventDetail

ORDER = PROJECT / "docs" / "events" / f"order.v{EVENT_VERSION}.schema.json"


def order() -> dict[str, Any]:
    """Return the schema of the detail that all order events share."""
    schema = OrderEventDetail.model_json_schema(by_alias=True, mode="serialization")
    for each in (schema, *schema["$defs"].values()):
        _allow_new_fields(each)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"Detail of {', '.join(DETAIL_TYPES.values())} from {SOURCE}, version {EVENT_VERSION}",
    }


def text() -> str:
    return json.dumps(order(), indent=2, ensure_ascii=False) + "\n"


def _allow_new_fields(schema: dict[str, Any]) -> None:
    """Allow unknown fields, so that consumers can still validate events with today's schema after fields are added.

    Also remove the field titles that pydantic generates.
    """
    schema.pop("additionalProperties", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
