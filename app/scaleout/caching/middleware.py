"""`X-Cache`: the level of the values of an answer; and their tags, for `shown()`."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from scaleout.caching import level
from scaleout.caching.conf import conf


class CacheLevelMiddleware:
    """Name the farthest level that the answer needed, if `CACHING["EXPOSE_TOPOLOGY"]` is set.

    An answer without a cached value has no such header.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        level.farthest.set(0)
        level.collected.set([])
        response = self.get_response(request)
        if (farthest := level.farthest.get()) and conf().expose_topology:
            response["X-Cache"] = level.NAMES[farthest]
        return response
