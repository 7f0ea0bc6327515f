"""One trail for each request, and a second try for a read whose database died under it."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse

from replication import state

# Seconds after which a failed read is not tried again: its caller has waited long enough for a 503.
SECOND_TRY_WITHIN = 0.8


class ReplicationMiddleware:
    """Start a trail, tell it in `X-Database`, and repeat a GET or HEAD once when its connection broke.

    The repeat is safe because nothing was written (a write pins the trail), and of use because the
    broken connection is gone and libpq goes to the next host.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        trail = state.begin()
        response = self.get_response(request)
        if settings.EXPOSE_TOPOLOGY and trail.aliases:
            response["X-Database"] = ",".join(trail.aliases)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Repeat the view once if a read failed for want of its database."""
        match = request.resolver_match
        if (
            match is None
            or request.method not in ("GET", "HEAD")
            or not isinstance(exception, OperationalError | InterfaceError)
            or state.current().pinned
            or time.monotonic() - state.current().began > SECOND_TRY_WITHIN
            or any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
        ):
            return None
        connections.close_all()
        try:
            response = match.func(request, *match.args, **match.kwargs)
            assert isinstance(response, HttpResponse)  # noqa: S101 - for mypy; views return nothing else
            return response
        except (OperationalError, InterfaceError):
            return None  # the first failure is the one that is reported
