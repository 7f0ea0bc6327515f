"""The Content-Security-Policy of pages. The load balancer adds one to all other answers."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

NAME = "Content-Security-Policy"


class PagePolicyMiddleware:
    """Let a page load only files and images of this site and its CDN. A view's own policy wins."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.policy = policy(settings.STATIC_URL, settings.MEDIA_URL)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        # Django's debug page has inline styles and scripts.
        if not settings.DEBUG and response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(NAME, self.policy)
        return response


def policy(static_url: str, media_url: str) -> str:
    """Return the policy for pages that load files and images from these URLs."""
    files = " ".join(["'self'", *filter(None, [_origin(static_url)])])
    images = " ".join(dict.fromkeys([*files.split(), *filter(None, [_origin(media_url)]), "data:"]))
    return (
        f"default-src 'none'; script-src {files}; style-src {files}; font-src {files}; img-src {images}; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
