"""Answer 503 at once for a request whose caller is gone, or that would delay more important
ones.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from django.http import HttpRequest, HttpResponse

from scaleout.base.problem import problem_response
from scaleout.shedding import metrics
from scaleout.shedding.arrival import waited
from scaleout.shedding.conf import conf

DETAIL = "The site is overloaded. Try again shortly."


class SheddingMiddleware:
    """Compare how long a request has waited with what its kind may wait.

    The less a kind may wait (`SHEDDING["KINDS"]`), the sooner it is refused when there is too much
    to do. Stand before all that costs something, and behind what answers for health.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._try_seconds = conf().try_seconds
        self._kinds: Sequence[tuple[str, tuple[str, ...], float]] = [
            (name, tuple(kind["paths"]), kind["seconds"]) for name, kind in conf().kinds.items()
        ]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        wait = waited(request.META.get("HTTP_X_REQUEST_START", ""), time.time(), self._try_seconds)
        if wait is not None:
            metrics.waited.observe(wait)
            kind, most = self._kind(request.path)
            if wait > most or gone(request.META.get("gunicorn.socket")):
                metrics.refused.labels(kind).inc()
                return refusal(request)
        return self.get_response(request)

    def _kind(self, path: str) -> tuple[str, float]:
        return next(((name, most) for name, paths, most in self._kinds if path.startswith(paths)), ("other", 1.0))


def gone(connection: socket.socket | None) -> bool:
    """Return whether the other side has closed the connection."""
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def refusal(request: HttpRequest) -> HttpResponse:
    """Return the problem (RFC 9457): 503 with Retry-After."""
    response = problem_response(request, 503, DETAIL, {"Retry-After": "1", "Cache-Control": "no-store"})
    response["Content-Length"] = str(len(response.content))
    return response
