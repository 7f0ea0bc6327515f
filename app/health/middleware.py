"""`/health/` and `/health/live`, answered before anything else can fail.

They stand before the check of the Host header, sessions and routing, so that a load balancer's probe
asks for nothing but this replica's health.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from health.monitor import Monitor
from health.probes import CacheProbe, DatabaseProbe


class HealthMiddleware:
    """Answer what a load balancer and an operator ask.

    healthy: everything works. degraded: something is lost, but pages are served (a primary that is away
    still leaves the replicas to read from). unhealthy: no database can be read, or the replica is draining.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._drain_marker = Path(settings.DRAIN_MARKER)
        self._primary = Monitor("primary", DatabaseProbe("default", writable=True))
        self._replicas = [Monitor(alias, DatabaseProbe(alias, writable=False)) for alias in settings.REPLICAS]
        self._cache = Monitor("cache", CacheProbe())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the two paths; pass everything else on."""
        if request.path == "/health/":
            return self._health()
        if request.path == "/health/live":
            return JsonResponse({"status": "live"}, headers={"Cache-Control": "no-store"})
        return self.get_response(request)

    def _health(self) -> HttpResponse:
        writable = self._primary.ok()
        readable = [replica.ok() for replica in self._replicas]
        cache = self._cache.ok()
        draining = self._drain_marker.exists()
        if draining or not (writable or any(readable)):
            status = "unhealthy"
        elif writable and all(readable) and cache:
            status = "healthy"
        else:
            status = "degraded"
        body = {
            "status": status,
            "database": "ok" if writable and all(readable) else "error",
            "cache": "ok" if cache else "error",
        }
        if draining:
            body["draining"] = "yes"
        return JsonResponse(body, status=503 if status == "unhealthy" else 200, headers={"Cache-Control": "no-store"})
