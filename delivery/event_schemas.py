"""JSON Schemas of the published events, generated from their models for consumers."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from command_line.project import PROJECT
from order_payments.events.order_events import (
    DETAIL_TYPES,
    EVENT_VERSION,
    REFUND_DETAIL_TYPES,
    SOURCE,
    OrderEventDetail,
    OrderRefundDetail,
)

FOLDER = PROJECT / "docs" / "events"
ORDER = FOLDER / f"order.v{EVENT_VERSION}.schema.json"
REFUND = FOLDER / f"refund.v{EVENT_VERSION}.schema.json"
_MODELS: dict[Path, tuple[type[OrderEventDetail], Iterable[str]]] = {
    ORDER: (OrderEventDetail, DETAIL_TYPES.values()),
    REFUND: (OrderRefundDetail, dict.fromkeys(REFUND_DETAIL_TYPES.values())),
}


def schema_of(file: Path) -> dict[str, Any]:
    """Return the schema that belongs into `ORDER` or `REFUND`."""
    model, detail_types = _MODELS[file]
    schema = model.model_json_schema(by_alias=True, mode="serialization")
    for each in (schema, *schema["$defs"].values()):
        _allow_new_fields(each)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"Detail of {', '.join(detail_types)} from {SOURCE}, version {EVENT_VERSION}",
    }


def text_of(file: Path) -> str:
    """Return the text that belongs into `ORDER` or `REFUND`."""
    return json.dumps(schema_of(file), indent=2, ensure_ascii=False) + "\n"


def _allow_new_fields(schema: dict[str, Any]) -> None:
    """Allow unknown fields, so that consumers can still validate events with today's schema after fields are added.

    Also remove the field titles that pydantic generates.
    """
    schema.pop("additionalProperties", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
