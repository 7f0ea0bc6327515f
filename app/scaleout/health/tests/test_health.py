"""The answers of /health/, which never wait."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.health import monitor
from scaleout.health.middleware import HealthMiddleware
from scaleout.health.monitor import Monitor

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


class Probe:
    """A probe that does what the test says."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def __call__(self) -> None:
        self._action()

    def close(self) -> None:
        """Hold nothing."""


def not_reached(_request: HttpRequest) -> HttpResponse:
    raise AssertionError("a health question must not get this far")


def test_a_working_replica_is_healthy() -> None:
    answer = HealthMiddleware(not_reached)(RequestFactory().get("/health/"))
    assert answer.status_code == 200
    assert answer.content == b'{"status": "healthy", "database": "ok", "cache": "ok"}'


@pytest.mark.parametrize("hangs", [False, True])
def test_a_replica_without_redis_is_degraded_and_stays_in_service(settings: LazySettings, hangs: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a port that takes connections and answers none
        port = silent.getsockname()[1]
        if not hangs:
            silent.close()
        away = {**settings.CACHES["default"], "LOCATION": f"redis://127.0.0.1:{port}/0"}
        settings.CACHES = {**settings.CACHES, "default": away}
        health = HealthMiddleware(not_reached)
        answer = health(RequestFactory().get("/health/"))
    assert answer.status_code == 200
    assert json.loads(answer.content) == {"status": "degraded", "database": "ok", "cache": "error"}


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("path", ["/health/", "/health/live"])
def test_no_cache_keeps_an_answer_about_health(path: str, readable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaleout.replication.condition.condition", lambda: Condition(readable, readable))
    answer = HealthMiddleware(not_reached)(RequestFactory().get(path))
    assert answer.headers["Cache-Control"] == "no-store"


@dataclass(frozen=True)
class Condition:
    """The condition of the databases."""

    readable: bool
    whole: bool


@pytest.mark.parametrize(
    ("readable", "whole", "status", "code"),
    [(True, True, "healthy", 200), (True, False, "degraded", 200), (False, False, "unhealthy", 503)],
)
def test_a_database_that_is_lost_but_readable_elsewhere_degrades_the_site(
    readable: bool, whole: bool, status: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaleout.replication.condition.condition", lambda: Condition(readable, whole))
    answer = HealthMiddleware(not_reached)(RequestFactory().get("/health/"))
    assert answer.status_code == code
    body = json.loads(answer.content)
    assert (body["status"], body["database"]) == (status, "ok" if whole else "error")


def test_a_draining_replica_answers_503_but_lives(settings: LazySettings, tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    settings.HEALTH = settings.HEALTH | {"DRAIN_MARKER": str(marker)}
    health = HealthMiddleware(not_reached)
    assert health(RequestFactory().get("/health/")).status_code == 200
    marker.touch()
    assert health(RequestFactory().get("/health/")).status_code == 503
    assert health(RequestFactory().get("/health/live")).status_code == 200


def test_a_probe_from_any_host_is_answered(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert Client().get("/health/", headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert Client().get("/", headers={"host": "10.0.0.7:8000"}).status_code == 400


def test_a_probe_that_fails_shows_at_once_and_recovery_shows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "INTERVAL", 0.02)
    broken = threading.Event()

    def probe() -> None:
        if broken.is_set():
            raise ConnectionError("gone")

    watched = Monitor("thing", Probe(probe))
    assert watched.ok()
    broken.set()
    eventually(lambda: not watched.ok(), 2)
    broken.clear()
    eventually(watched.ok, 2)


def test_a_probe_that_hangs_shows_without_making_anyone_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "INTERVAL", 0.02)
    monkeypatch.setattr(monitor, "STALE", 0.3)
    release = threading.Event()
    calls = 0

    def probe() -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            release.wait(60 * TIME_FACTOR)

    watched = Monitor("thing", Probe(probe))
    assert watched.ok()
    eventually(lambda: not watched.ok(), 2)
    with in_time():
        assert not watched.ok()
    release.set()
