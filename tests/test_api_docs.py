"""`/api/docs` through the load balancer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.client import Site
from support.services import PORTS
from support.stack import Stack
from support.wait import eventually

DOCUMENT = "/api/openapi.json"


def named(site: Site) -> set[str]:
    """Return the services in the document, which must arrive before the load balancer's 504."""
    answer = site.get(DOCUMENT)
    assert answer.status_code == 200, answer.text
    return services_of(answer.json())


def services_of(document: dict[str, Any]) -> set[str]:
    """Return the services whose operations the document has."""
    return {path.split("/")[2] for path in document["paths"]}


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
    # Each process has its own document: the answer is judged that has all services.
    answer = eventually(
        "all services in the document",
        lambda: site.get(DOCUMENT),
        lambda seen: services_of(seen.json()) == set(PORTS),
        within=15,
    )
    assert answer.headers["Cache-Control"] == "public, max-age=10"
    for name in PORTS:
        own = site.get(f"/api/{name}/openapi.json").json()["paths"]
        assert own.keys() <= answer.json()["paths"].keys()


@pytest.mark.failure
def test_a_service_that_hangs_is_named_and_the_others_stay(site: Site, broken: Stack) -> None:
    broken.compose("pause", "orders")
    others = set(PORTS) - {"orders"}
    document = eventually(
        "the document without orders",
        lambda: site.get(DOCUMENT).json(),
        lambda seen: services_of(seen) == others,
        within=25,
    )
    assert "orders" in document["info"]["description"]
    broken.compose("unpause", "orders")
    eventually("the document with orders", lambda: named(site), lambda found: found == set(PORTS), within=25)
