"""An exception, and the answer that it becomes. https://www.rfc-editor.org/rfc/rfc9457"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from django.http import HttpRequest, JsonResponse


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """Raise it in a view to answer with `status` and a `detail` that tells the caller what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def problem_response(
    request: HttpRequest, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """Return the problem as an answer. `request_id` is the request's, where a middleware has set one."""
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


def wants_html(request: HttpRequest) -> bool:
    """Return whether a person reads the answer: a browser on a page, not a program or the API."""
    return not request.path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")
