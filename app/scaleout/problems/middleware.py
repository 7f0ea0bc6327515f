"""Every error leaves as a problem."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from scaleout.base.problem import problem_response
from scaleout.problems.responses import Problem, unavailable, wants_html


def _details(status: int) -> str:
    try:
        return HTTPStatus(status).description or HTTPStatus(status).phrase
    except ValueError:
        return "The request could not be served."


class ProblemMiddleware:
    """Turn exceptions and bare error answers into problems; leave HTML error pages to browsers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        if (
            response.status_code < HTTPStatus.BAD_REQUEST
            or getattr(response, "passed_on", False)  # the gateway passes a service's answer unchanged
            or response.get("Content-Type", "").startswith(("application/problem+json", "application/json"))
        ):
            return response
        if wants_html(request) and not response.streaming and response.content:
            return response
        kept = {name: response[name] for name in ("Allow", "Retry-After") if name in response}
        status = response.status_code
        return problem_response(request, status, _details(status), kept)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a `Problem` with its status, and a database that is down with 503 and
        Retry-After.
        """
        if isinstance(exception, Problem):
            return problem_response(request, exception.status, exception.detail, exception.headers)
        return unavailable(request, exception)
