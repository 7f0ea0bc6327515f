"""The Content-Security-Policy of pages, which alone need to load anything. The load balancer adds
one to all else.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

NAME = "Content-Security-Policy"


class PagePolicyMiddleware:
    """Let a page load this site's files and images, those of its CDN, and nothing else. A view may
    say otherwise.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.policy = policy(settings.STATIC_URL, settings.MEDIA_URL)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        # Django's page of an error, which only DEBUG shows, has its style and its script in itself.
        if not settings.DEBUG and response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(NAME, self.policy)
        return response


def policy(static_url: str, media_url: str) -> str:
    """Return the policy for pages whose files and images come from these URLs."""
    files = " ".join(["'self'", *filter(None, [_origin(static_url)])])
    images = " ".join(dict.fromkeys([*files.split(), *filter(None, [_origin(media_url)]), "data:"]))
    return (
        f"default-src 'none'; script-src {files}; style-src {files}; font-src {files}; img-src {images}; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
