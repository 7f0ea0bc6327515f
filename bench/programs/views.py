"""A view with one query, and how to ask it in the process: Django's whole handler, no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from shop.users.models import EmailDirectory

from programs.prepare import EMAIL


def named(_request: HttpRequest, alias: str) -> HttpResponse:
    """Read one row by its key from `alias`."""
    return HttpResponse(EmailDirectory.objects.db_manager(alias).get(pk=EMAIL).state)


urlpatterns = [path("named/<alias>", named)]


def request(url: str) -> Callable[[], int]:
    """Return an operation: one GET of `url`, from the environment of WSGI to the end of the
    answer.
    """
    with override_settings(MIDDLEWARE=[]):
        handler = WSGIHandler()
    environ = RequestFactory().get(url).environ

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
