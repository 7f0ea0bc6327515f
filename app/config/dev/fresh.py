"""A changed template shows at the next request, although pages are cached."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from scaleout.caching import conf, process

from config.dev import tree


class FreshMiddleware:
    """Begin a new release of the cache when a template has changed, so that old pages are not
    served.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        state = tree.pages()
        if state != settings.CACHING["RELEASE"]:
            settings.CACHING = settings.CACHING | {"RELEASE": state}
            old = process.current
            process.renew()
            old.end()
            caches[conf.LOCAL].clear()
        return self.get_response(request)
