"""Log lines and metrics of the authorizer, as JSON on standard output.

Powertools' logger is not used, because it would lengthen this function's imports by more than a third. The fields have
Powertools' names, so that one query finds the lines of every function.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from order_payments.runtime.metric_names import Count
from order_payments.runtime.settings import function_name, metric_namespace

SERVICE = "order-payments"  # POWERTOOLS_SERVICE_NAME of the other functions

_FUNCTION_NAME = function_name()
_METRIC_NAMESPACE = metric_namespace()


def write_line(level: str, message: str, **fields: str | int | None) -> None:
    """Write one log line, without fields that are None. Log ids and outcomes, never a token or its claims."""
    line = {
        "level": level,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "service": SERVICE,
        **({"function_name": _FUNCTION_NAME} if _FUNCTION_NAME else {}),
        **{name: value for name, value in fields.items() if value is not None},
    }
    _write(line)


def write_counts(*metrics: Count) -> None:
    """Count one of each metric, in one line of CloudWatch's embedded metric format."""
    directive = {
        "Namespace": _METRIC_NAMESPACE,
        "Dimensions": [["service"]],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in metrics],
    }
    _write(
        {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
            "service": SERVICE,
            **{name: [1.0] for name in metrics},
        }
    )


@contextmanager
def count_start_failures() -> Iterator[None]:
    """Count a failure of the block, which ends the start, so that no handler can count it."""
    try:
        yield
    except BaseException:
        write_counts(Count.AUTHORIZER_FAILED, Count.INTERNAL_ERROR)
        raise


def _write(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
