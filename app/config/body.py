"""Read what a view has left of the request's body."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_CHUNK = 65536


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
            while request.META["wsgi.input"].read(_CHUNK):
                pass
        return response
