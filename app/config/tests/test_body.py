"""What a view leaves unread is read before the answer goes out."""

from __future__ import annotations

import io

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from config.body import DrainBodyMiddleware


@pytest.mark.parametrize(("terminated", "left"), [(True, 0), (False, 200_000)])
def test_the_rest_of_the_body_is_read_where_the_server_ends_the_stream(terminated: bool, left: int) -> None:
    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    body = io.BytesIO(b"x" * 200_000)
    request = RequestFactory().post("/counter/")
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": terminated}
    assert DrainBodyMiddleware(view)(request).status_code == 200
    assert len(body.read()) == left
