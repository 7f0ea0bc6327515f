"""One document with the operations of all services; it names unavailable ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django import Settings
from scaleout.gateway.edge import views
from scaleout.gateway.tests.upstream import Respond, Upstream, close, hang, say
from waiting import in_time

from shop import services


def says(name: str) -> Respond:
    """Answer as the service does."""
    operation = {"responses": {"200": {"description": "OK"}}}
    body = json.dumps({"openapi": "3.1.0", "paths": {f"/api/{name}/": {"get": operation}}}).encode()
    return say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def site(settings: Settings) -> Any:
    """A function that puts these services behind the gateway; all others answer normally."""
    with ExitStack() as stack:

        def start(**responds: Respond) -> None:
            addresses = {}
            for name in services.APIS:
                upstream = stack.enter_context(closing(Upstream(responds.get(name, says(name)))))
                addresses[name] = f"http://127.0.0.1:{upstream.port}"
            settings.GATEWAY = settings.GATEWAY | {"SERVICES": addresses}
            views._from_settings.cache_clear()

        yield start
    views._from_settings.cache_clear()


type Start = Callable[..., None]


def test_the_document_has_the_operations_of_all_services(client: Client, site: Start) -> None:
    site()
    answer = client.get("/api/openapi.json")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer["Cache-Control"] == "public, max-age=10"
    assert set(answer.json()["paths"]) == {f"/api/{name}/" for name in services.APIS}
    assert "issing" not in answer.json()["info"]["description"]


@pytest.mark.parametrize("respond", [close, hang], ids=["down", "hung"])
def test_services_that_are_away_are_named_and_the_others_come_in_time(
    client: Client, site: Start, respond: Respond
) -> None:
    site(users=respond, orders=respond)
    with in_time():
        answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    assert set(answer.json()["paths"]) == {"/api/products/"}
    assert "users, orders" in answer.json()["info"]["description"]


def test_the_page_takes_nothing_from_elsewhere_and_needs_no_service(client: Client) -> None:
    answer = client.get("/api/docs")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    assert answer["Cache-Control"] == "no-cache"
    assert "'unsafe-eval'" not in answer["Content-Security-Policy"]
    html = answer.content.decode()
    files = re.findall(r'(?:src|href)="/static/([^"]+)"', html)
    assert len(files) == 4
    assert all(finders.find(name) for name in files)
    assert "//" not in re.sub(r'"/static/[^"]+"', "", html).replace("<!doctype html>", "")
    settings = json.loads(re.search(r'id="swagger-settings">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert settings["url"] == "/api/openapi.json"
    assert settings["validatorUrl"] is None  # which is a foreign host otherwise


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json"])
def test_the_two_addresses_are_for_reading(client: Client, site: Start, path: str) -> None:
    site()
    assert client.head(path).status_code == 200
    answer = client.post(path)
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert answer["Content-Type"] == "application/problem+json"


def test_no_service_has_the_name_of_the_page() -> None:
    assert "docs" not in services.APIS
