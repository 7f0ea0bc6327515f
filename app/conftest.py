"""The fixtures of all in-process tests."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import current_app
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.db.backends.postgresql.operations import DatabaseOperations
from scaleout.caching import process, watch, wire
from scaleout.health import monitor
from scaleout.replication.backend.base import stop_watching
from scaleout.sharding import scatter, shard_map
from scaleout.sharding.fill import fill
from shop import services

import redis


def _by_delete(
    self: DatabaseOperations, _style: Any, tables: Iterable[str], *, reset_sequences: bool = False, **_: Any
) -> list[str]:
    """Return SQL that empties `tables` by DELETE: a tenth of the time of TRUNCATE, which rebuilds
    each table and index.

    It runs without triggers, so that neither foreign keys nor fences stop it.
    """
    if reset_sequences:
        raise NotImplementedError("reset_sequences is not supported")  # DELETE keeps the sequences
    deletions = (f"DELETE FROM {self.quote_name(table)}" for table in tables)  # noqa: S608 - Django's table names
    return ["; ".join(["SET LOCAL session_replication_role = replica", *deletions])]


DatabaseOperations.sql_flush = _by_delete  # type: ignore[method-assign, assignment]  # Django empties the databases with it


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Close all connections at the end: the watch and the mirrors have their own."""
    yield
    connections.close_all()
    _join("caching")  # each thread closes its connection at its end
    monitor.stop_all()
    stop_watching()
    _join("watch", "health-")


def _join(*names: str) -> None:
    """Wait for the threads whose names begin with `names`; a busy machine needs long for it."""
    for thread in threading.enumerate():
        if thread.name.startswith(names):
            thread.join(60)
            if thread.is_alive():
                raise RuntimeError(f"thread {thread.name} still runs after 60 s")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty the cache after each test.

    Redis gets long time-outs, since the machine is busy. The tests of `caching` try a slow Redis
    in processes of their own.
    """
    monkeypatch.setattr(wire, "TIMEOUT", 5.0)
    monkeypatch.setattr(wire, "SLOW", 5.0)
    monkeypatch.setattr(watch, "ANSWER", 5.0)
    yield
    process.current.end()
    process.renew()
    caches["local"].clear()
    with redis.Redis(unix_socket_path=urlsplit(settings.QUEUE_URL).path, socket_timeout=30) as client:
        client.flushall()


@pytest.fixture
def shards(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create the shard map and the buckets as `prepare` does; empty this process's copy of the map.

    For tests with the mark `django_db(transaction=True)` and the databases `default` and those of
    the shards.
    """
    monkeypatch.setattr(scatter, "DEADLINE", 10.0)
    fill("default", settings.SHARDING["SHARDS"])
    shard_map.forget()
    yield
    shard_map.forget()


@pytest.fixture
def deliver() -> Callable[[], list[str]]:
    """Return a function that runs all sent tasks, and those that they send, as workers do.

    It returns the names of the tasks.
    """
    current_app.loader.import_default_modules()  # as a worker does
    client: Any = redis.Redis(unix_socket_path=urlsplit(settings.QUEUE_URL).path, db=1)

    read = [queue for owner in services.OWNERS for queue in services.queues(owner)]

    def run() -> list[str]:
        done = []
        while message := next(filter(None, map(client.rpop, read)), None):
            envelope = json.loads(message)
            _, arguments, _ = json.loads(base64.b64decode(envelope["body"]))
            done.append(envelope["headers"]["task"])
            current_app.tasks[done[-1]].apply(kwargs=arguments, throw=True)
        return done

    return run
