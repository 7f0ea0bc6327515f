"""An exception, and the answer that it becomes. https://www.rfc-editor.org/rfc/rfc9457"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpRequest, JsonResponse

UNAVAILABLE = "The database does not answer at the moment. Try again shortly."


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """Raise it in a view to answer with `status` and a `detail` that tells the caller what to
    do.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def problem_response(
    request: HttpRequest, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """Return the problem as an answer. `request_id` is the request's, where a middleware has set
    one.
    """
    return JsonResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "request_id": getattr(request, "id", None),
        },
        status=status,
        content_type="application/problem+json",
        headers=dict(headers or {}),
    )


def unavailable(request: HttpRequest, error: BaseException | None) -> JsonResponse | None:
    """Return 503 and when to come back, if `error` says that a database is away; None if it says
    anything else.

    An error with a `detail` says by itself what to do, and is not to be sent again at once.
    InternalError is what a write gets on a node that has just ceased to be the primary.
    """
    if not isinstance(error, OperationalError | InterfaceError | InternalError):
        return None
    request.database_error = f"{type(error).__name__}: {error}"  # type: ignore[attr-defined]  # for the log
    if detail := getattr(error, "detail", ""):
        return problem_response(request, 503, detail)
    return problem_response(request, 503, UNAVAILABLE, {"Retry-After": "1"})


def wants_html(request: HttpRequest) -> bool:
    """Return whether a person reads the answer: a browser on a page, not a program or the API."""
    if not getattr(settings, "ERROR_PAGES", True):  # a service without pages
        return False
    return not request.path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")
