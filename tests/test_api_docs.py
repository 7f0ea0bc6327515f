"""`/api/docs` through the load balancer."""

from __future__ import annotations

import re
import time

import pytest
from support.client import Site
from support.services import PORTS
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

DOCUMENT = "/api/openapi.json"


def named(site: Site) -> set[str]:
    """Return the services in the document, which must arrive before a time-out."""
    started = time.monotonic()
    answer = site.get(DOCUMENT)
    assert time.monotonic() - started < 2 * TIME_FACTOR
    assert answer.status_code == 200, answer.text
    return {path.split("/")[2] for path in answer.json()["paths"]}


def test_the_page_and_all_that_it_needs_come_from_this_site(site: Site) -> None:
    page = site.get("/api/docs")
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-cache")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    static = [name for name in files if name.startswith("/static/")]
    assert set(files) - set(static) == {DOCUMENT}
    assert len(static) == 4
    for name in static:
        answer = site.get(name)
        assert answer.status_code == 200, name
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", name


def test_the_document_has_the_operations_of_all_services(site: Site) -> None:
    eventually("all services in the document", lambda: named(site), lambda found: found == set(PORTS), within=15)
    answer = site.get(DOCUMENT)
    assert answer.headers["Cache-Control"] == "public, max-age=10"
    for name in PORTS:
        own = site.get(f"/api/{name}/openapi.json").json()["paths"]
        assert own.keys() <= answer.json()["paths"].keys()


@pytest.mark.failure
def test_a_service_that_hangs_is_named_and_the_others_stay(site: Site, broken: Stack) -> None:
    broken.compose("pause", "orders")
    others = set(PORTS) - {"orders"}
    eventually("the document without orders", lambda: named(site), lambda found: found == others, within=25)
    assert "orders" in site.get(DOCUMENT).json()["info"]["description"]
    broken.compose("unpause", "orders")
    eventually("the document with orders", lambda: named(site), lambda found: found == set(PORTS), within=25)
