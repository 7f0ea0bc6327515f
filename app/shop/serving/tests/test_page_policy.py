"""The Content-Security-Policy of pages."""

from __future__ import annotations

import pytest
from django.test import Client

from shop.serving.page_policy import policy

pytestmark = pytest.mark.django_db
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def test_pages_and_pages_of_errors_have_it_and_the_api_docs_keep_their_own() -> None:
    assert Client().get("/search/?q=x")["Content-Security-Policy"] == PAGE
    missing = Client().get("/nothing/", headers={"accept": "text/html"})
    assert (missing.status_code, missing["Content-Security-Policy"]) == (404, PAGE)
    assert "'unsafe-inline'" in Client().get("/api/docs")["Content-Security-Policy"]


def test_the_cdn_of_static_files_and_of_images_is_let_in_where_it_is_needed() -> None:
    parts = dict(
        part.split(" ", 1) for part in policy("https://cdn.example/static/", "https://media.example/").split("; ")
    )
    assert parts["style-src"] == parts["script-src"] == "'self' https://cdn.example"
    assert parts["img-src"] == "'self' https://cdn.example https://media.example data:"
    assert parts["default-src"] == "'none'"
