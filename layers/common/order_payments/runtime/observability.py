"""Logger and metrics. Both write lines to standard output, which Lambda sends to CloudWatch.

A metric is a line of JSON in CloudWatch's embedded metric format, so it costs a request neither a call nor a wait.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from order_payments.runtime.metric_names import Count, Gauge, Latency
from order_payments.runtime.settings import function_name, metric_namespace

# All functions share a log group, so each line has the name of its function.
logger = Logger(function_name=function_name())

_OTHER = "other"
_REASON = re.compile(r"[a-z0-9_]{1,64}")

_metrics = EphemeralMetrics(namespace=metric_namespace())
# Guards Powertools' buffer of metrics: the reconciler adds to it from several threads.
_metrics_lock = Lock()


def correlate(request_id: str | None) -> None:
    """Add `correlationId` to this thread's log lines until `logger.thread_safe_clear_keys`.

    It is the id of the request that caused the work. A function that continues the work later has an id of its own.
    """
    if request_id is not None:
        logger.thread_safe_append_keys(correlationId=request_id)


def count(metric: Count, number: int = 1) -> None:
    """Add `number` to a counter. `write_metrics` writes it."""
    _add(metric, MetricUnit.Count, number)


def gauge(metric: Gauge, seconds: float) -> None:
    """Record the current value of a gauge. `write_metrics` writes it."""
    _add(metric, MetricUnit.Seconds, seconds)


@contextmanager
def measure_latency(metric: Latency) -> Iterator[None]:
    """Record the duration of the block, also if it raises."""
    started = time.perf_counter()
    try:
        yield
    finally:
        _add(metric, MetricUnit.Milliseconds, 1000 * (time.perf_counter() - started))


def write_metrics() -> None:
    """Write the metrics recorded since the last call in one line, or nothing if there are none."""
    with _metrics_lock:
        if _metrics.metric_set:
            _metrics.flush_metrics()


def write_cancellation_counts(numbers: Mapping[str, int]) -> None:
    """Write the number of cancelled payments, in total and by reason. A reason that is not a code becomes `other`."""
    for reason, number in numbers.items():
        metrics = EphemeralMetrics(namespace=_metrics.namespace)
        metrics.add_metric(Count.PAYMENT_CANCELLED, MetricUnit.Count, number)
        code = reason if _REASON.fullmatch(reason) else _OTHER
        metrics.add_dimensions(**({"service": metrics.service} if metrics.service else {}), reason=code)
        metrics.flush_metrics()


def _add(name: str, unit: MetricUnit, value: float) -> None:
    with _metrics_lock:
        _metrics.add_metric(name, unit, round(value, 3))
