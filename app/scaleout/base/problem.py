"""Problem details as answers: https://www.rfc-editor.org/rfc/rfc9457"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, JsonResponse

TYPE = "application/problem+json"


def problem_body(status: int, detail: str, request_id: str | None) -> dict[str, Any]:
    """Return the problem, to be written as JSON."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}


def problem_response(
    request: HttpRequest, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """Return the problem as an answer. A middleware may have set the request's `id`."""
    body = problem_body(status, detail, getattr(request, "id", None))
    return JsonResponse(body, status=status, content_type=TYPE, headers=dict(headers or {}))
