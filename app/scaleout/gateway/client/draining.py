"""A replica that is about to stop says so on its connections.

Docker's DNS names a replica until it is gone, and gunicorn leaves new connections to the kernel,
which resets them, some time earlier. So a draining service reports that: in `/health/`, which the
gateway requests first on a new connection, and on each answer over a kept one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.http import HttpRequest, HttpResponse

from scaleout.gateway.conf import conf

HEADER = "X-Draining"


class DrainingMiddleware:
    """Mark each answer of a draining replica. For the services."""

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
