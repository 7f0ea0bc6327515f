"""`/health/` and `/health/live`, answered before anything else can fail.

They stand before the check of the Host header, sessions and routing, so that a load balancer's
probe asks for nothing but this replica's health.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string

from scaleout.health import progress
from scaleout.health.monitor import Monitor
from scaleout.health.probes import CacheProbe


class Condition(Protocol):
    """What `settings.HEALTH_DATABASES`, the dotted name of a function, returns: at once and from
    memory.
    """

    @property
    def readable(self) -> bool:
        """Whether pages can be served."""

    @property
    def whole(self) -> bool:
        """Whether no database is lost."""


class HealthMiddleware:
    """Answer what a load balancer and an operator ask.

    healthy: everything works. degraded: something is lost, but pages are served (a primary that is
    away still leaves the replicas to read from). unhealthy: no database can be read, the replica is
    draining, or the threads that serve requests are stuck.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._drain_marker = Path(settings.DRAIN_MARKER)
        self._databases: Callable[[], Condition] = import_string(settings.HEALTH_DATABASES)
        self._cache = Monitor("cache", CacheProbe())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the two paths; pass everything else on."""
        if request.path == "/health/":
            return self._health()
        if request.path == "/health/live":
            return JsonResponse({"status": "live"}, headers={"Cache-Control": "no-store"})
        return self.get_response(request)

    def _health(self) -> HttpResponse:
        databases = self._databases()
        cache = self._cache.ok()
        draining = self._drain_marker.exists()
        stuck = progress.pool.stuck()
        if draining or stuck or not databases.readable:
            status = "unhealthy"
        elif databases.whole and cache:
            status = "healthy"
        else:
            status = "degraded"
        body = {
            "status": status,
            "database": "ok" if databases.whole else "error",
            "cache": "ok" if cache else "error",
        }
        if draining:
            body["draining"] = "yes"
        if stuck:
            body["stuck"] = "yes"
        return JsonResponse(body, status=503 if status == "unhealthy" else 200, headers={"Cache-Control": "no-store"})
