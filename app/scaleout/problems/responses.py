"""The exception `Problem`, and which errors and requests get a problem as their answer."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpRequest, JsonResponse

from scaleout.base.problem import problem_response
from scaleout.problems.conf import conf

UNAVAILABLE = "The database does not answer at the moment. Try again shortly."


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """Raise it in a view to answer with `status` and a `detail` that says what is wrong and what to
    do.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def unavailable(request: HttpRequest, error: BaseException | None) -> JsonResponse | None:
    """Return 503 with Retry-After if `error` means that a database is down; else None.

    An error with a `detail` names the remedy itself, and the client must not repeat the request at
    once. A write raises InternalError on a node that has just lost the role of primary.
    """
    if not isinstance(error, OperationalError | InterfaceError | InternalError):
        return None
    request.database_error = f"{type(error).__name__}: {error}"  # type: ignore[attr-defined]  # for the log
    if detail := getattr(error, "detail", ""):
        return problem_response(request, 503, detail)
    return problem_response(request, 503, UNAVAILABLE, {"Retry-After": "1"})


def wants_html(request: HttpRequest) -> bool:
    """Return whether a person reads the answer: a browser on a page, not a program or the API."""
    if not conf().error_pages:  # a service without pages
        return False
    return not request.path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")
