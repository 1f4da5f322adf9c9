"""The DynamoDB tables of a stack, kept in a file from one emulator to the next."""

import json
from pathlib import Path
from typing import Any

from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners


class SavedTables:
    """The items of each table, by its logical id in the template."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._saved: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        self._tables: dict[str, dict[str, Any]] = {}

    def restore_when_created(self) -> None:
        """Fill each table with its saved items when CloudFormation creates it. They are no changes in its stream."""
        handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
        create = handlers["create"]

        def create_and_restore(logical_id: str, *arguments: Any) -> Any:
            created = create(logical_id, *arguments)
            table = self._tables[logical_id] = dynamodb._tables[created[0]]
            table["items"].update(self._saved.get(logical_id, {}))
            dynamodb._items_replaced(table)
            return created

        handlers["create"] = create_and_restore

    def save(self) -> None:
        """Replace the file. A table that was not created yet, because a start was interrupted, keeps its items."""
        self._saved |= {logical_id: table["items"] for logical_id, table in self._tables.items()}
        unfinished = self._file.with_suffix(".unfinished")
        # `dumps` encodes without releasing the GIL, so that no request changes the tables meanwhile.
        unfinished.write_text(json.dumps(self._saved))
        unfinished.replace(self._file)
