"""The request's body: read what a view has left of it, and give a service the one that came without a length."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from gunicorn.http.errors import ParseException

_CHUNK = 65536
_BROKEN = (OSError, ParseException)  # what gunicorn raises for chunks that are none, or that do not come


class DrainBodyMiddleware:
    """Read the rest of the body before the answer goes out.

    A view that answers without reading a large body leaves it in the socket; closing that socket then resets the
    connection, and the load balancer says 502 for a request that was served. The load balancers limit the
    size of a body and buffer it, so this is bounded and does not wait.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        # Only a server that ends the stream by itself, as gunicorn does, may be read to the end.
        if request.META.get("wsgi.input_terminated"):
            with suppress(*_BROKEN):
                while request.META["wsgi.input"].read(_CHUNK):
                    pass
        return response


class ChunkedBodyMiddleware:
    """Read a body that comes in chunks, which Django would take for an empty one: it looks at Content-Length only.

    No more of it is read than a body may have; one that is longer is refused as one with a Content-Length is. For
    services that read small bodies whole, and not for one that passes bodies on.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request. Raises BadRequest for chunks that are none."""
        if request.META.get("wsgi.input_terminated") and "HTTP_TRANSFER_ENCODING" in request.META:
            try:
                body = request.META["wsgi.input"].read((settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) + 1)
            except _BROKEN as error:
                raise BadRequest("the body is not well chunked") from error
            request._stream = io.BytesIO(body)  # where Django reads the body from
            request.META["CONTENT_LENGTH"] = str(len(body))
        return self.get_response(request)
