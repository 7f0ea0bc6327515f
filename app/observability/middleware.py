"""What every request gets: an id, a line in the log, and the name of the replica that served it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from observability import request_id

log = logging.getLogger("access")

# Asked every second by machines: not worth a line each.
_QUIET = ("/health/", "/metrics")


class RequestIdMiddleware:
    """Take over the caller's `X-Request-ID` if it is valid, else make one; put it on the answer and in the log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        started = time.perf_counter()
        identifier = request_id.accept(request.headers.get("X-Request-ID", ""))
        request_id.current.set(identifier)
        request.id = identifier  # type: ignore[attr-defined]  # for the problem details
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        if settings.EXPOSE_TOPOLOGY:
            response["X-Served-By"] = settings.REPLICA_NAME
        if request.path.startswith(_QUIET):
            return response
        fields = {
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "milliseconds": round((time.perf_counter() - started) * 1000, 1),
            "client": request.META.get("HTTP_X_REAL_IP", request.META.get("REMOTE_ADDR")),
        }
        if error := getattr(request, "database_error", None):
            fields["database_error"] = error
        log.info("%s %s %d", request.method, request.path, response.status_code, extra={"fields": fields})
        return response
