"""`X-Cache`: where the values of an answer came from; and what they depend on, for `shown()`."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from scaleout.caching import level


class CacheLevelMiddleware:
    """Name the level farthest away that the answer needed, with EXPOSE_TOPOLOGY; nothing where none
    was asked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        level.farthest.set(0)
        level.collected.set([])
        response = self.get_response(request)
        if (farthest := level.farthest.get()) and getattr(settings, "EXPOSE_TOPOLOGY", False):
            response["X-Cache"] = level.NAMES[farthest]
        return response
