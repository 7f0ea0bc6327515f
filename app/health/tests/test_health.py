"""What /health/ says, and that it never waits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from django.conf import LazySettings
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from health import monitor
from health.middleware import HealthMiddleware
from health.monitor import Monitor
from health.probes import DatabaseProbe

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def eventually(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds, at most for `seconds`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        pause.wait(0.05)


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


def test_a_draining_replica_answers_503_but_lives(settings: LazySettings, tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    settings.DRAIN_MARKER = str(marker)
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
            release.wait(10)

    watched = Monitor("thing", Probe(probe))
    assert watched.ok()
    eventually(lambda: not watched.ok(), 2)
    started = time.monotonic()
    watched.ok()
    assert time.monotonic() - started < 0.1
    release.set()


def test_a_server_process_that_is_frozen_is_noticed_within_the_deadline() -> None:
    probe = DatabaseProbe("default", writable=True)
    probe()
    assert probe._connection is not None
    pid = probe._connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(psycopg.OperationalError):
            probe()
        assert time.monotonic() - started < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    probe()
    probe.close()


def test_a_database_that_cannot_be_written_is_not_the_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = DatabaseProbe("default", writable=True)
    monkeypatch.setattr("health.probes.IS_STANDBY", "SELECT true")
    with pytest.raises(psycopg.OperationalError, match="not the primary"):
        probe()
