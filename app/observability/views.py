"""`/metrics`: for Prometheus, inside."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST

from observability.metrics import exposition


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with this replica's metrics, or 404 to whoever comes through a load balancer.

    The load balancers refuse `/metrics` themselves and mark what they pass on; this is the second lock.
    """
    if "X-Forwarded-For" in request.headers:
        raise Http404
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
