"""Prometheus metrics of a replica, summed over its workers.

They are django-prometheus's, with its names and labels, so that its dashboard works. Its own
middlewares fill twenty metrics a request; this one fills the four that answer a question.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django_prometheus import middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, values
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from scaleout.observability.conf import conf

_slot = "master"


def use_slot(name: str) -> None:
    """Keep this process's values in the files of slot `name`.

    A slot is the number of a worker. A new worker takes over the slot of the one it replaces, so
    its counts continue and the number of files does not grow (prometheus/client_python#568).
    """
    global _slot  # noqa: PLW0603 - one process, one slot
    _slot = name


if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: _slot)  # type: ignore[no-untyped-call]

REQUESTS = "django_http_requests_total_by_view_transport_method"
# The metrics that answer a question; django-prometheus's dashboard asks for the first three.
FILLED = frozenset(
    {
        REQUESTS,
        "django_http_responses_total_by_status_view_method",
        "django_http_requests_latency_seconds_by_view_method",
        "django_http_exceptions_total_by_type",
    }
)


class _Unfilled:
    """Stands for a metric that is not kept: the library counts the templates in one."""

    def labels(self, **_labels: str) -> _Unfilled:
        return self

    def inc(self) -> None:
        """Count nothing."""


class Metrics(middleware.Metrics):  # type: ignore[misc]  # the library has no types
    """django-prometheus's metrics, of which only those in `FILLED` are kept."""

    _instance = None  # not the one of the class above

    def register_metric(self, metric_cls: Any, name: str, *arguments: Any, **options: Any) -> Any:
        """Return the metric, or a stand-in for one that is not kept."""
        return super().register_metric(metric_cls, name, *arguments, **options) if name in FILLED else _Unfilled()


@cache
def _counters(kept: Metrics, view: str, method: str, transport: str, status: str) -> tuple[Any, ...]:
    """Return what counts such a request: the library looks each up by its labels, with a lock."""
    return (
        kept.requests_by_view_transport_method.labels(view=view, transport=transport, method=method).inc,
        kept.responses_by_status_view_method.labels(status=status, view=view, method=method).inc,
        kept.requests_latency_by_view_method.labels(view=view, method=method).observe,
    )


class MetricsMiddleware(middleware.PrometheusAfterMiddleware):  # type: ignore[misc]  # the library has no types
    """Count each request and its answer, with the labels of the class above.

    All at once, after the answer: that class reads `request.headers`, which renames all headers,
    and counts the seconds of a view that raises twice.
    """

    metrics_cls = Metrics

    def __call__(self, request: HttpRequest) -> Any:
        """Answer the request."""
        if request.path == "/metrics":  # before the check of the Host: Prometheus scrapes by address
            return metrics(request)
        began = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - began
        view, method, transport = self._get_view_name(request), self._method(request), self._transport(request)
        *counters, observe = _counters(self.metrics, view, method, transport, str(response.status_code))
        for count in counters:
            count()
        observe(seconds)
        return response

    def process_view(self, request: HttpRequest, *_view: Any, **_arguments: Any) -> None:
        """Count nothing: the answer is counted, also of a request that no view answers."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Count the exception. Its answer is counted as any other."""
        self.metrics.exceptions_by_type.labels(type=type(exception).__name__).inc()


class _Replica:
    """The sums over all workers of this replica."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, and the one that follows from another: it costs a request nothing."""
        for metric in MultiProcessCollector(None).collect():  # type: ignore[no-untyped-call]
            yield metric
            if metric.name == REQUESTS:
                yield _by_method(metric)


def _by_method(requests: Metric) -> Metric:
    """Return the metric from which the dashboard takes its lists of jobs and instances."""
    sums: Counter[str] = Counter()
    for sample in requests.samples:
        sums[sample.labels["method"]] += sample.value  # type: ignore[assignment]  # a Counter adds floats too
    found = CounterMetricFamily("django_http_requests_total_by_method", "Requests by method.", labels=["method"])
    for method, value in sums.items():
        found.add_metric([method], value)
    return found


def exposition() -> bytes:
    """Return the metrics of this replica: the sum over all its workers, in Prometheus's text
    format.
    """
    registry = CollectorRegistry()
    registry.register(_Replica())
    return generate_latest(registry)


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with this replica's metrics, or 404 to a request through a load balancer.

    What `OBSERVABILITY["MEASURES"]` names is called before: functions that set gauges, soon and
    without an error. The load balancers refuse `/metrics` themselves and mark what they pass on;
    this is the second lock.
    """
    if "X-Forwarded-For" in request.headers:
        return HttpResponse(status=404)
    for measure in conf().measures:
        import_string(measure)()
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
