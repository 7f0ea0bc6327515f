"""Middlewares that a project adds for its own pages change nothing for the API."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_no_middleware_makes_django_rename_all_headers() -> None:
    # request.headers does, and takes longer for it than most middlewares take for all that they do.
    answer = Client().get("/counter/", headers={"x-forwarded-for": "203.0.113.7"})
    assert answer.status_code == 200
    assert "headers" not in answer.wsgi_request.__dict__


@pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])
def test_who_protects_forms_still_takes_posts_to_the_counter_and_the_services(settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    client = Client(enforce_csrf_checks=True)
    assert client.post("/counter/").status_code == 200
    assert client.post("/api/unknown/").status_code == 404
