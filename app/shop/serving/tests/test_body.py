"""Request bodies are complete before the view, and read to the end before the answer."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.unreader import IterUnreader

from shop.serving.body import DrainBodyMiddleware, WholeBodyMiddleware


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
    """Return gunicorn's input stream for `chunks`."""
    return Body(ChunkedReader(None, IterUnreader([chunks])))


def chunked(body: Any) -> HttpRequest:
    request = RequestFactory().generic("POST", "/api/users/")
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return request


def unreached(_request: HttpRequest) -> HttpResponse:
    pytest.fail("the view began")


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def test_a_body_in_chunks_is_there_for_the_view() -> None:
    assert WholeBodyMiddleware(echo)(chunked(io.BytesIO(b"x" * 5000))).content == b"x" * 5000


def test_a_body_with_a_length_is_there_for_the_view_and_for_what_reads_the_servers_stream() -> None:
    request = RequestFactory().post("/api/users/", b"text", content_type="text/plain")
    request.META["wsgi.input_terminated"] = True
    assert WholeBodyMiddleware(echo)(request).content == b"text"

    def passing_on(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.META["wsgi.input"].read(int(request.META["CONTENT_LENGTH"])))

    assert WholeBodyMiddleware(passing_on)(chunked(io.BytesIO(b"x" * 5000))).content == b"x" * 5000


def test_no_view_begins_for_a_body_that_ends_too_soon() -> None:
    request = RequestFactory().post("/counter/", b"text", content_type="text/plain")
    request.META |= {"wsgi.input_terminated": True, "CONTENT_LENGTH": "5", "wsgi.input": io.BytesIO(b"text")}
    with pytest.raises(BadRequest):
        WholeBodyMiddleware(unreached)(request)


def test_an_endless_body_is_read_up_to_the_limit(settings: LazySettings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024
    body = io.BytesIO(b"x" * 500_000)
    assert WholeBodyMiddleware(unreached)(chunked(body)).status_code == 413
    assert body.tell() <= 1024 + 65_536


def test_chunks_are_put_together() -> None:
    assert WholeBodyMiddleware(echo)(chunked(body_of(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))).content == b"abcde"


@pytest.mark.parametrize("chunks", [b"ZZ\r\nab\r\n0\r\n\r\n", b"-1\r\na\r\n", b"3\r\nabcdef\r\n", b"5\r\nab", b""])
def test_invalid_chunks_are_a_400(chunks: bytes) -> None:
    with pytest.raises(BadRequest):
        WholeBodyMiddleware(echo)(chunked(body_of(chunks)))
    request = chunked(body_of(chunks))
    assert DrainBodyMiddleware(lambda _request: HttpResponse(status=400))(request).status_code == 400
