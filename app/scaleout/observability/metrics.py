"""Prometheus metrics of a replica, summed over its workers.

The names are django-prometheus's, so that its dashboards work. Its own middlewares fill twenty
metrics a request; these are the four that answer a question.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django_prometheus.conf import PROMETHEUS_LATENCY_BUCKETS
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from scaleout.observability.conf import conf

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
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

_requests = Counter(
    "django_http_requests_total_by_view_transport_method",
    "Requests by view, transport and method.",
    ["view", "transport", "method"],
)
_responses = Counter(
    "django_http_responses_total_by_status_view_method",
    "Answers by status, view and method.",
    ["status", "view", "method"],
)
_latency = Histogram(
    "django_http_requests_latency_seconds_by_view_method",
    "Seconds from the first middleware to the answer, by view and method.",
    ["view", "method"],
    buckets=PROMETHEUS_LATENCY_BUCKETS,
)
_exceptions = Counter("django_http_exceptions_total_by_type", "Exceptions that left a view, by type.", ["type"])


class MetricsMiddleware:
    """Count each request and its answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if request.path == "/metrics":  # before the check of the Host: Prometheus scrapes by address
            return metrics(request)
        started = time.perf_counter()
        response = self.get_response(request)
        method = request.method if request.method in _METHODS else "<invalid method>"
        view = request.resolver_match.view_name if request.resolver_match else "<no view>"
        _requests.labels(view, request.scheme, method).inc()
        _responses.labels(str(response.status_code), view, method).inc()
        _latency.labels(view, method).observe(time.perf_counter() - started)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Count the exception."""
        _exceptions.labels(type(exception).__name__).inc()


def exposition() -> bytes:
    """Return the metrics of this replica: the sum over all its workers, in Prometheus's text
    format.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
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
