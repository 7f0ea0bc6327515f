"""What the in-process tests of all packages share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from caching import process, wire
from django.conf import settings
from django.core.cache import caches
from django_redis import get_redis_connection
from health import monitor
from replication.backend.base import stop_watching
from sharding import map as maps
from sharding.fill import fill


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end let go of the databases: the watch keeps a connection of its own to each."""
    yield
    for thread in threading.enumerate():
        if thread.name == "caching":
            thread.join(3)  # each closes its connection as it ends
    monitor.stop_all()
    stop_watching()


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test has cached is not there for the next. Redis may take its time here, as busy as the machine is:
    what a slow one is worth, the tests of `caching` show in processes of their own."""
    monkeypatch.setattr(wire, "TIMEOUT", 5.0)
    monkeypatch.setattr(wire, "SLOW", 5.0)
    yield
    process.current.end()
    process.renew()
    caches["local"].clear()
    get_redis_connection("default").flushdb()


@pytest.fixture
def shards(transactional_db: None) -> Iterator[None]:
    """A map and buckets as `prepare` makes them, and a process that knows nothing yet.

    For tests that are marked `django_db(transaction=True)` with the databases `default` and those of the shards.
    """
    fill("default", settings.SHARDS)
    maps.forget()
    yield
    maps.forget()
