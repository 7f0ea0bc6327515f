"""Refuse what another site lets a browser do here: a change, and a GET that counts a visit."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from scaleout.problems import problem_response

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
OURS = frozenset({"same-origin", "none"})  # "none": the user has typed the address


class CrossSiteMiddleware:
    """Answer 403 to a browser's request from another origin that would change something.

    A browser says where a request comes from by `Sec-Fetch-Site`, an older one by `Origin`; a
    program that says neither has no cookies of another person. A request with `Authorization` does
    not live on what the browser adds by itself.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if _changes(request) and "Authorization" not in request.headers and not _is_ours(request):
            return problem_response(request, 403, "A page of another site may not do this.")
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
