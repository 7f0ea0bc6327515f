"""`/health/` and `/health/live`, answered before anything else can fail.

This middleware stands before the check of the Host header, sessions and routing: a load balancer's
probe depends on this replica's health and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string

from scaleout.health import progress
from scaleout.health.conf import conf
from scaleout.health.monitor import Monitor
from scaleout.health.probes import CacheProbe


class Condition(Protocol):
    """The result of the function that `HEALTH["DATABASES"]` names: immediate, from memory."""

    @property
    def readable(self) -> bool:
        """Whether pages can be served."""

    @property
    def whole(self) -> bool:
        """Whether every database is up."""


class HealthMiddleware:
    """Answer the health checks of load balancers and operators.

    healthy: everything works. degraded: a part is down, but pages are served (without a primary the
    replicas still serve reads). unhealthy: no database can be read, the replica drains, or the
    threads that serve requests are stuck.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._drain_marker = Path(conf().drain_marker)
        self._databases: Callable[[], Condition] = import_string(conf().databases)
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
