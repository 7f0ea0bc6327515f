"""The request's id and trace, its line in the log, and the name of the replica that served it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from scaleout.observability import trace
from scaleout.observability.conf import conf

log = structlog.stdlib.get_logger("access")

META = {"X-Request-ID": "HTTP_X_REQUEST_ID", "traceparent": "HTTP_TRACEPARENT", "tracestate": "HTTP_TRACESTATE"}

# Machines ask for these every second: no line for each.
_QUIET = ("/health/", "/metrics")


class RequestIdMiddleware:
    """Take over the caller's `X-Request-ID` and trace if valid, else generate them.

    The answer gets the id, and the log gets both.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        started = time.perf_counter()
        # Not by request.headers, which takes four times as long: it renames all headers when it is
        # asked for one.
        span = trace.follow(lambda name: request.META.get(META[name]))
        token = trace.enter(span)
        try:
            request.id = span.request_id  # type: ignore[attr-defined]  # for the problem details
            response = self.get_response(request)
            response["X-Request-ID"] = span.request_id
            if conf().expose_topology:
                response["X-Served-By"] = conf().replica_name
            if not request.path.startswith(_QUIET):
                _log(request, response, (time.perf_counter() - started) * 1000)
            return response
        finally:
            trace.leave(token)


def _log(request: HttpRequest, response: HttpResponse, milliseconds: float) -> None:
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "milliseconds": round(milliseconds, 1),
        "client": request.META.get("HTTP_X_REAL_IP", request.META.get("REMOTE_ADDR")),
    }
    if error := getattr(request, "database_error", None):
        fields["database_error"] = error
    log.info(f"{request.method} {request.path} {response.status_code}", **fields)
