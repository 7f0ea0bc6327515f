"""The time that a caller will wait, passed from service to service, so that no work is done in
vain.

`X-Deadline` holds the seconds that are left when the header is sent, such as `1.734`: no two clocks
need agree. It does not cover the later wait in a service's queue. But the caller closes the
connection at the deadline, and a closed connection is seen before the work begins.
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
    """Return the seconds that a further call may take: the rest of the caller's wait, and at most
    this.
    """
    until = _until.get()
    return at_most if until is None else max(0.0, min(at_most, until - time.monotonic()))


def headers(seconds: float) -> dict[str, str]:
    """Return the header of a call that may take `seconds`."""
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
    """For the services: keep to the caller's deadline.

    Not for the site's edge, where anyone may send the header.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; with 504 before any work if the caller has gone.

        Raises BadRequest for a malformed number.
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
