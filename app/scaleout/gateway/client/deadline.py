"""How long a caller will wait, passed on from service to service, so that no work is done for one
who has gone.

`X-Deadline` holds the seconds that are left when the header is sent, such as `1.734`: no two clocks
need agree. What a request waits in a service's queue after that is not in it. But its caller closes
the connection at the deadline, and a closed connection is seen before the work begins.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse

HEADER = "X-Deadline"
_FORM = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")

_until: ContextVar[float | None] = ContextVar("gateway_deadline", default=None)


def left(at_most: float) -> float:
    """Return the seconds that a call to somebody else may take: what the caller still waits, and no
    more than this.
    """
    until = _until.get()
    return at_most if until is None else max(0.0, min(at_most, until - time.monotonic()))


def headers(seconds: float) -> dict[str, str]:
    """Return the header to send with a call that is given `seconds`."""
    return {HEADER: f"{max(seconds, 0.0):.3f}"}


def caller_gone(environ: dict[str, Any]) -> bool:
    """Return whether the caller has closed the connection. Only gunicorn can tell."""
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return False
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


class DeadlineMiddleware:
    """For the services, not for the site's edge, where anyone may send the header: keep to the
    caller's deadline.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; with 504 before any work if nobody waits. Raises BadRequest for what
        is no number.
        """
        sent = request.headers.get(HEADER)
        if sent is not None and not _FORM.fullmatch(sent):
            raise BadRequest(f"{HEADER} is not a number of seconds")
        seconds = None if sent is None else float(sent)
        if seconds == 0 or (seconds is not None and caller_gone(request.META)):
            return HttpResponse(status=504)
        token = _until.set(None if seconds is None else time.monotonic() + seconds)
        try:
            return self.get_response(request)
        finally:
            _until.reset(token)
