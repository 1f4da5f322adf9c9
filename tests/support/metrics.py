"""The metrics in the functions' log output, read as CloudWatch reads them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Metrics = Mapping[str, Sequence[float]]
"""The values of each metric, in log order."""


def metric_lines(output: str) -> list[dict[str, Any]]:
    """Return the lines in CloudWatch's embedded metric format."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


def metrics_in(output: str, **dimensions: str) -> Metrics:
    """Return the metrics that have exactly these dimensions, besides `service`."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in metric_lines(output):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            sets = [set(names) - {"service"} for names in directive["Dimensions"]]
            if set(dimensions) in sets and all(line[name] == value for name, value in dimensions.items()):
                for metric in directive["Metrics"]:
                    found[metric["Name"]] += line[metric["Name"]]
    return found
