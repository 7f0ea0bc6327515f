"""The request's body: complete before the view begins, and read to its end before the answer."""

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
from scaleout.problems import problem_response

_CHUNK = 65536
_IN_MEMORY = 1_048_576
_PIECE = 5.0  # seconds to wait for the next part of a body, as in the load balancers
_BROKEN = (OSError, ParseException)  # gunicorn's errors for invalid or missing chunks


class DrainBodyMiddleware:
    """Read the rest of the body before the answer is sent.

    A view may answer without reading a large body. Closing a socket with unread data resets the
    connection, and the load balancer answers 502 for a served request. The load balancers limit
    the size and duration of a body, so this is bounded.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        source = request.META.get("wsgi.input")
        response = self.get_response(request)
        # Only a server that ends the stream itself, as gunicorn does, allows reading to the end.
        if source is not None and request.META.get("wsgi.input_terminated"):
            with suppress(*_BROKEN):
                while source.read(_CHUNK):
                    pass
        return response


class WholeBodyMiddleware:
    """Read the body before the view begins, so that a truncated or too large one changes nothing.

    A load balancer may pass a body on while it arrives, and cut it. A chunked body gets a
    Content-Length here: Django reads only that header, and would see an empty body.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; 413 for a too large body. Raises BadRequest for a truncated one."""
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
                meta["wsgi.input_terminated"] = False  # do not wait for the rest
                raise BadRequest("request body truncated, or its chunks are invalid") from error
            if size > most:
                return problem_response(request, 413, f"The body has more than {most} bytes. Send less.")
            if size < length and not chunked:
                raise BadRequest("request body truncated")
            request._stream = meta["wsgi.input"] = cast(BinaryIO, body)  # Django reads the body from here
            meta["CONTENT_LENGTH"] = str(size)
            meta.pop("HTTP_TRANSFER_ENCODING", None)
            return self.get_response(request)


@contextmanager
def _timed(sock: socket | None) -> Iterator[None]:
    """Let a read of `sock` raise TimeoutError after _PIECE seconds without data."""
    if sock is not None:
        sock.settimeout(_PIECE)
    yield
    if sock is not None:
        sock.settimeout(None)


def _copy(source: Any, target: IO[bytes], most: int) -> int:
    """Copy at most `most` bytes, rewind `target`, and return the number of bytes."""
    left = most
    while left and (piece := source.read(min(_CHUNK, left))):
        target.write(piece)
        left -= len(piece)
    target.seek(0)
    return most - left
