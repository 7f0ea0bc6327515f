"""Malformed requests that fail before any middleware. Django's test client makes requests
of its own kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from pytest_django import Settings
from scaleout.identity import tokens

from config.wsgi import application

TYPES = [
    "text/plain; charset*=utf-8''a%00b", "x/y; a*=bogus''b", "text/plain; charset=hex", "text/plain; charset=base64",
    "text/plain; charset=rot13", "text/plain; charset=zlib", "text/plain; charset=undefined",
    "text/plain; charset=idna", "application/json; charset=utf-8",
    "application/x-www-form-urlencoded; charset=utf-16", "multipart/form-data; a*=b''c",
]  # fmt: skip
MANY = "&".join(["a"] * 1001)  # one more than Django takes


@pytest.fixture(autouse=True)
def _no_database() -> Iterator[None]:
    """Keep Django from looking after connections of other tests: none of these requests needs
    one.
    """
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def ask(path: str, query: str = "", **more: str) -> tuple[int, dict[str, str], bytes]:
    """Return the answer as gunicorn would send it."""
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": "localhost", **more}
    setup_testing_defaults(environ)
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _error: Any = None, /) -> Any:
        started.extend([int(status[:3]), dict(headers)])

    answer: Any = application(environ, start)
    body = b"".join(answer)
    answer.close()
    return started[0], started[1], body


@pytest.mark.parametrize("query", ["", "limit=1", MANY], ids=["no query", "a query", "many parameters"])
@pytest.mark.parametrize("kind", TYPES)
def test_no_content_type_keeps_a_request_from_the_view(kind: str, query: str) -> None:
    status, _, body = ask("/health/live", query, CONTENT_TYPE=kind)
    assert (status, json.loads(body)) == (HTTPStatus.OK, {"status": "live"})


@pytest.mark.parametrize("service", ["users", "products", "orders"])
@pytest.mark.parametrize("kind", ["", *TYPES])
def test_a_query_of_too_many_parameters_is_a_problem_of_the_caller(kind: str, service: str, settings: Settings) -> None:
    settings.ROOT_URLCONF = f"shop.{service}.tests.urls"
    staff = f"Bearer {tokens.for_user(1, is_staff=True)}"
    status, headers, _ = ask(f"/api/{service}/", MANY, CONTENT_TYPE=kind, HTTP_AUTHORIZATION=staff)
    assert (status, headers["Content-Type"]) == (HTTPStatus.BAD_REQUEST, "application/problem+json")
