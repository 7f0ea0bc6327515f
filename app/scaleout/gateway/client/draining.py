"""A replica that is about to stop tells whoever has a connection to it.

Docker's DNS names a replica until it has gone, and gunicorn leaves connections to the kernel, which
resets them, before it has gone. So a service that drains says so: in `/health/`, which the gateway
asks before the first request on a new connection, and on each answer over one that it has kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.http import HttpRequest, HttpResponse

from scaleout.gateway.conf import conf

HEADER = "X-Draining"


class DrainingMiddleware:
    """For the services: say on each answer that this replica takes no more."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        marker = conf().drain_marker
        self._marker = Path(marker) if marker else None

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        if self._marker and self._marker.exists():
            response[HEADER] = "yes"
        return response
