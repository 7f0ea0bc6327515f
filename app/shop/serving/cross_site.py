"""Reject cross-site requests of browsers that change state, including a counting GET."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from scaleout.problems import problem_response

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
OURS = frozenset({"same-origin", "none"})  # "none": the user typed the address


class CrossSiteMiddleware:
    """Answer 403 to a browser's request from another origin that changes state.

    A browser sends the source as `Sec-Fetch-Site`, an older one as `Origin`. A program that sends
    neither has no cookies of another person. A request with `Authorization` is safe: a browser
    does not add that header by itself.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if _changes(request) and "Authorization" not in request.headers and not _is_ours(request):
            return problem_response(request, 403, "Cross-site request rejected. Send it from a page of this site.")
        return self.get_response(request)


def _changes(request: HttpRequest) -> bool:
    return request.method not in SAFE or request.path in settings.CHANGED_BY_GET


def _is_ours(request: HttpRequest) -> bool:
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in OURS
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.get_host()
    except ValueError:
        return False
