"""Fixtures of the tests of events."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.db import connections
from pytest_django import Settings

from scaleout.base import Breaker
from scaleout.events import sending
from scaleout.events.tests.broker import Broker, Worker, route
from scaleout.events.tests.tasks import TABLE

HANDLE = "scaleout.events.tests.tasks.handle"
EVENTS = {"happened": [HANDLE], "happened twice": [HANDLE, "elsewhere.tasks.handle"]}


@pytest.fixture(autouse=True)
def _events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.EVENTS = {
        "CONSUMERS": EVENTS,
        "QUEUE": "celery",  # one for all, as long as a test does not say otherwise
        "HEADERS": "scaleout.events.tests.tasks.headers",
    }
    monkeypatch.setattr(sending, "_breaker", Breaker(sending.PAUSE))
    monkeypatch.setattr(sending, "_lengths", {})
    route("celery")
    yield
    route(None)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker of the test's own."""
    before = current_app.conf.broker_url
    with tempfile.TemporaryDirectory(prefix="events-") as folder:
        found = Broker(Path(folder))
        current_app.conf.update(broker_url=found.url)
        yield found
        current_app.conf.update(broker_url=before)
        found.end()


@pytest.fixture
def effects(transactional_db: None) -> Iterator[type[Effects]]:
    """The table of the effects."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (id bigserial, label text)")
    yield Effects
    with connections["default"].cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


class Effects:
    """The effects of the consumer."""

    @staticmethod
    def seen() -> list[str]:
        """Return the labels in their order."""
        with connections["default"].cursor() as cursor:
            cursor.execute(f"SELECT label FROM {TABLE} ORDER BY id")  # noqa: S608 - our own word
            return [label for (label,) in cursor.fetchall()]


@pytest.fixture
def worker(broker: Broker, effects: type[Effects]) -> Iterator[Worker]:
    """A real worker."""
    found = Worker(broker)
    yield found
    print(found.output())  # shown where the test has failed
    found.kill()
