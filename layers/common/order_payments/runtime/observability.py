"""The one logger, and the one set of metrics: lines on standard output, of which CloudWatch makes both.

A metric is a line of JSON in CloudWatch's embedded metric format, so that it costs a request neither a call nor a wait.
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

# All functions write to one log group.
logger = Logger(function_name=function_name())

_OTHER = "other"
_REASON = re.compile(r"[a-z0-9_]{1,64}")

_metrics = EphemeralMetrics(namespace=metric_namespace())
# Powertools keeps what it is told until it is written, and the reconciler tells it from several threads.
_metrics_lock = Lock()


def correlate(request_id: str | None) -> None:
    """Have all lines of this thread say which request they follow, until `logger.thread_safe_clear_keys`.

    As `correlationId`: who settles a payment for somebody else has a request id, or an invocation's, of their own.
    """
    if request_id is not None:
        logger.thread_safe_append_keys(correlationId=request_id)


def count(what: Count, number: int = 1) -> None:
    """Count `number` more of something, to be written by `write_metrics`."""
    _add(what, MetricUnit.Count, number)


def gauge(what: Gauge, seconds: float) -> None:
    """Tell how something stands at this moment, to be written by `write_metrics`."""
    _add(what, MetricUnit.Seconds, seconds)


@contextmanager
def measure_latency(what: Latency) -> Iterator[None]:
    """Measure what the block takes, however it ends."""
    started = time.perf_counter()
    try:
        yield
    finally:
        _add(what, MetricUnit.Milliseconds, 1000 * (time.perf_counter() - started))


def write_metrics() -> None:
    """Write what was counted and measured since the last time, in one line; none where there was nothing."""
    with _metrics_lock:
        if _metrics.metric_set:
            _metrics.flush_metrics()


def write_cancellation_counts(numbers: Mapping[str, int]) -> None:
    """Write how many payments were cancelled, of each reason and in all. What is not a code is `other`."""
    for reason, number in numbers.items():
        metrics = EphemeralMetrics(namespace=_metrics.namespace)
        metrics.add_metric(Count.PAYMENT_CANCELLED, MetricUnit.Count, number)
        code = reason if _REASON.fullmatch(reason) else _OTHER
        metrics.add_dimensions(**({"service": metrics.service} if metrics.service else {}), reason=code)
        metrics.flush_metrics()


def _add(name: str, unit: MetricUnit, value: float) -> None:
    with _metrics_lock:
        _metrics.add_metric(name, unit, round(value, 3))
