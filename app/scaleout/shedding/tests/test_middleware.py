"""The requests that are refused, and the answer to them."""

from __future__ import annotations

import json
import socket
import time

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from prometheus_client import REGISTRY

from scaleout.shedding import SheddingMiddleware


def view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("served")


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: a busy machine takes long between the stamp and the look at it."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def unreached(_request: HttpRequest) -> HttpResponse:
    pytest.fail("a request that is refused must cost nothing")


def request(path: str, waited: float) -> HttpRequest:
    """Return one that the load balancer got `waited` seconds ago."""
    return RequestFactory().get(path, headers={"x-request-start": f"t={int((time.time() - waited) * 1000)}"})


def refused(kind: str) -> float:
    return REGISTRY.get_sample_value("shedding_refused_total", {"kind": kind}) or 0.0


def test_a_request_that_has_waited_too_long_gets_a_problem_that_says_when_to_come_back() -> None:
    before = refused("pages")
    answer = SheddingMiddleware(unreached)(request("/", 1.5))
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Length"] == str(len(answer.content))
    body = json.loads(answer.content)
    assert (body["status"], body["title"]) == (503, "Service Unavailable")
    assert refused("pages") == before + 1


@pytest.mark.parametrize(
    ("path", "waited", "served"),
    [
        ("/search/?q=tent", 0.1, True),
        ("/search/?q=tent", 0.7, False),
        ("/products/2/", 0.7, True),
        ("/products/2/", 1.2, False),
        ("/api/orders/", 1.2, True),
        ("/api/users/token", 1.2, True),
        ("/api/orders/", 1.8, False),
        ("/", 2.3, True),  # a second try
    ],
)
def test_what_matters_less_is_refused_sooner(path: str, waited: float, served: bool) -> None:
    answer = SheddingMiddleware(view)(request(path, waited))
    assert (answer.status_code == 200) is served


@pytest.mark.parametrize("stamp", [None, "t=1", "yesterday", "t=9999999999999"])
def test_a_request_without_a_stamp_that_makes_sense_is_served(stamp: str | None) -> None:
    headers = {"x-request-start": stamp} if stamp else {}
    assert SheddingMiddleware(view)(RequestFactory().get("/", headers=headers)).status_code == 200


def test_a_request_whose_caller_has_gone_is_not_served() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fresh = request("/", 0.0)
        fresh.META["gunicorn.socket"] = ours
        assert SheddingMiddleware(view)(fresh).status_code == 200
        theirs.sendall(b"the rest of a body")
        assert SheddingMiddleware(view)(fresh).status_code == 200
        ours.recv(100)
        theirs.close()
        assert SheddingMiddleware(unreached)(fresh).status_code == 503


def test_the_site_refuses_before_a_database_is_asked_and_answers_for_its_health() -> None:
    # No mark of pytest-django: a query would be an error.
    old = {"x-request-start": f"t={int((time.time() - 1.7) * 1000)}"}
    answer = Client().get("/session/", headers=old)
    assert answer.status_code == 503
    assert answer.json()["request_id"] == answer["X-Request-ID"]
    assert Client().get("/health/live", headers=old).status_code == 200
