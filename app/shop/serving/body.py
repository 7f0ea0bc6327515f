"""The request's body: all of it is there before a view begins, and all of it is read before the
answer goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import socket
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from gunicorn.http.errors import ParseException
from scaleout.problems.responses import problem_response

_CHUNK = 65536
_IN_MEMORY = 1_048_576
_PIECE = 5.0  # seconds between two pieces of a body, as in the load balancers
_BROKEN = (OSError, ParseException)  # what gunicorn raises for chunks that are none, or that do not come


class DrainBodyMiddleware:
    """Read the rest of the body before the answer goes out.

    A view that answers without reading a large body leaves it in the socket; closing that socket
    then resets the connection, and the load balancer says 502 for a request that was served. The
    load balancers limit the size of a body and how long it takes, so this is bounded.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        source = request.META.get("wsgi.input")
        response = self.get_response(request)
        # Only a server that ends the stream by itself, as gunicorn does, may be read to the end.
        if source is not None and request.META.get("wsgi.input_terminated"):
            with suppress(*_BROKEN):
                while source.read(_CHUNK):
                    pass
        return response


class WholeBodyMiddleware:
    """Read the body before the view begins: a request whose body ends too soon, or is too large,
    changes nothing.

    A load balancer may pass a body on while it arrives, and end it. One that comes in chunks has a
    length for all that follows: Django would take it for an empty one, since it looks at
    Content-Length only.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, with 413 where the body is too large. Raises BadRequest for one that
        ends too soon.
        """
        meta, most = request.META, settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
        chunked = "HTTP_TRANSFER_ENCODING" in meta
        length = most + 1 if chunked else int(meta.get("CONTENT_LENGTH") or 0)
        if not length or not meta.get("wsgi.input_terminated"):
            return self.get_response(request)
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as body:
            try:
                with _timed(meta.get("gunicorn.socket")):
                    size = _copy(meta["wsgi.input"], body, min(length, most + 1))
            except _BROKEN as error:
                meta["wsgi.input_terminated"] = False  # the rest of it is not waited for
                raise BadRequest("the body has not arrived whole, or is not well chunked") from error
            if size > most:
                return problem_response(request, 413, "The body is too large.")
            if size < length and not chunked:
                raise BadRequest("the body has not arrived whole")
            request._stream = meta["wsgi.input"] = cast(BinaryIO, body)  # where Django reads the body from
            meta["CONTENT_LENGTH"] = str(size)
            meta.pop("HTTP_TRANSFER_ENCODING", None)
            return self.get_response(request)


@contextmanager
def _timed(sock: socket | None) -> Iterator[None]:
    """Let a read of `sock` raise TimeoutError when nothing comes for a while."""
    if sock is not None:
        sock.settimeout(_PIECE)
    yield
    if sock is not None:
        sock.settimeout(None)


def _copy(source: Any, target: IO[bytes], most: int) -> int:
    """Copy at most `most` bytes, go to their beginning, and return how many there are."""
    left = most
    while left and (piece := source.read(min(_CHUNK, left))):
        target.write(piece)
        left -= len(piece)
    target.seek(0)
    return most - left
