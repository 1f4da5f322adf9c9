"""The log: one line of JSON on standard output, which is what Lambda keeps.

By hand, because Powertools' logger would add a third and more to the time of this function's imports. The fields are
named as Powertools names them, so that one query finds the lines of every function.
"""

import json
import sys
from datetime import UTC, datetime

from order_payments.settings import function_name

SERVICE = "order-payments"  # as POWERTOOLS_SERVICE_NAME has it for the other functions
_FUNCTION_NAME = function_name()


def write_line(level: str, message: str, **fields: str | None) -> None:
    """Write one line. Fields without a value are left out. Ids and outcomes only, never a token or its claims."""
    line = {
        "level": level,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "service": SERVICE,
        **({"function_name": _FUNCTION_NAME} if _FUNCTION_NAME else {}),
        **{name: value for name, value in fields.items() if value is not None},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
