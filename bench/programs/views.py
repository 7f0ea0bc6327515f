"""A view with one query, and how to ask it in the process: Django's whole handler, no HTTP."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from shop.users.models import EmailDirectory

from programs.prepare import EMAIL


def routed(_request: HttpRequest) -> HttpResponse:
    """Read one row by its key, wherever the routers say."""
    return HttpResponse(EmailDirectory.objects.get(pk=EMAIL).state)


def named(_request: HttpRequest, alias: str) -> HttpResponse:
    """Read the same row from `alias`."""
    return HttpResponse(EmailDirectory.objects.db_manager(alias).get(pk=EMAIL).state)


def either(request: HttpRequest) -> HttpResponse:
    """Read the same row from one of two aliases, by chance."""
    return named(request, random.choice(["plain1", "plain2"]))


urlpatterns = [path("routed", routed), path("either", either), path("named/<alias>", named)]


def request(url: str, middleware: list[str] | None = None, **headers: str) -> Callable[[], int]:
    """Return an operation: one GET of `url` with `headers`, from the environment of WSGI to the end
    of the answer.
    """
    with override_settings(MIDDLEWARE=middleware or []):
        handler = WSGIHandler()
    environ = RequestFactory().get(url, headers=headers).environ

    def start(*_answer: Any) -> Any:
        """Take the status and the headers."""

    def once() -> int:
        answer: Any = handler(dict(environ), start)
        body = b"".join(answer)
        answer.close()  # the end of the request: connections go back to their pool, or are closed
        if body != b"active":
            raise RuntimeError(f"{url}: {answer.status_code} {body[:200]!r}")
        return 1

    return once
