"""Django's error handlers: a page for a browser, a problem for everyone else."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from scaleout.base.problem import problem_response
from scaleout.problems.responses import unavailable, wants_html


def _answer(request: HttpRequest, status: int, detail: str, template: str) -> HttpResponse:
    if wants_html(request):
        return HttpResponse(render_to_string(template, request=request), status=status)
    return problem_response(request, status, detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    return problem_response(request, 400, "The request is malformed.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return problem_response(request, 403, "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    return _answer(request, 404, "There is nothing at this address.", "404.html")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500; or 503 if a middleware, such as the sessions', has missed its database."""
    if (answer := unavailable(request, sys.exception())) is not None:
        return answer
    return _answer(request, 500, "The server made an error. It has been logged.", "500.html")
