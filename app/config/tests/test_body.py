"""What a view leaves unread is read before the answer goes out."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.unreader import IterUnreader

from config.body import ChunkedBodyMiddleware, DrainBodyMiddleware


@pytest.mark.parametrize(("terminated", "left"), [(True, 0), (False, 200_000)])
def test_the_rest_of_the_body_is_read_where_the_server_ends_the_stream(terminated: bool, left: int) -> None:
    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    body = io.BytesIO(b"x" * 200_000)
    request = RequestFactory().post("/counter/")
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": terminated}
    assert DrainBodyMiddleware(view)(request).status_code == 200
    assert len(body.read()) == left


def body_of(chunks: bytes) -> Body:
    """Return what gunicorn gives an application to read for `chunks`."""
    return Body(ChunkedReader(None, IterUnreader([chunks])))


def chunked(body: Any) -> HttpRequest:
    request = RequestFactory().generic("POST", "/api/users/")
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return request


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def test_a_body_in_chunks_is_there_for_the_view() -> None:
    assert ChunkedBodyMiddleware(echo)(chunked(io.BytesIO(b"x" * 5000))).content == b"x" * 5000


def test_a_body_with_a_length_is_left_alone() -> None:
    request = RequestFactory().post("/api/users/", b"text", content_type="text/plain")
    request.META["wsgi.input_terminated"] = True
    assert ChunkedBodyMiddleware(echo)(request).content == b"text"


def test_of_an_endless_body_no_more_is_read_than_may_be(settings: LazySettings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024
    body = io.BytesIO(b"x" * 5000)
    with pytest.raises(RequestDataTooBig):
        ChunkedBodyMiddleware(echo)(chunked(body))
    assert body.tell() == 1025


def test_chunks_are_put_together() -> None:
    assert ChunkedBodyMiddleware(echo)(chunked(body_of(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))).content == b"abcde"


@pytest.mark.parametrize("chunks", [b"ZZ\r\nab\r\n0\r\n\r\n", b"-1\r\na\r\n", b"3\r\nabcdef\r\n", b"5\r\nab", b""])
def test_chunks_that_are_none_are_the_callers_error(chunks: bytes) -> None:
    with pytest.raises(BadRequest):
        ChunkedBodyMiddleware(echo)(chunked(body_of(chunks)))
    request = chunked(body_of(chunks))
    assert DrainBodyMiddleware(lambda _request: HttpResponse(status=400))(request).status_code == 400
