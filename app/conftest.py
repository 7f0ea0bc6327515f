"""What the in-process tests of all packages share."""

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
from scaleout.sharding import map as maps
from scaleout.sharding import scatter
from scaleout.sharding.fill import fill
from shop import services

import redis


def _by_delete(
    self: DatabaseOperations, _style: Any, tables: Iterable[str], *, reset_sequences: bool = False, **_: Any
) -> list[str]:
    """Return SQL that empties `tables`: a tenth of the time of TRUNCATE, which makes each table and
    index anew.

    As a replica does it: without triggers, so that neither a foreign key nor a fence is in the way.
    """
    if reset_sequences:
        raise NotImplementedError("no test here asks for ids that begin anew")
    deletions = (f"DELETE FROM {self.quote_name(table)}" for table in tables)  # noqa: S608 - names of Django's
    return ["; ".join(["SET LOCAL session_replication_role = replica", *deletions])]


DatabaseOperations.sql_flush = _by_delete  # type: ignore[method-assign, assignment]  # what Django empties the databases with


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end let go of the databases: the watch keeps a connection of its own to each, and so
    does a mirror.
    """
    yield
    connections.close_all()
    _join("caching")  # each closes its connection as it ends
    monitor.stop_all()
    stop_watching()
    _join("watch", "health-")


def _join(*names: str) -> None:
    """Wait for the threads whose names begin so: on a busy machine they take their time."""
    for thread in threading.enumerate():
        if thread.name.startswith(names):
            thread.join(60)
            if thread.is_alive():
                raise RuntimeError(f"the thread {thread.name} does not end")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test has cached is not there for the next. Redis may take its time here, as busy as
    the machine is: what a slow one is worth, the tests of `caching` show in processes of their own.
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
    """A map and buckets as `prepare` makes them, and a process that knows nothing yet, and has time
    to ask all shards.

    For tests that are marked `django_db(transaction=True)` with the databases `default` and those
    of the shards.
    """
    monkeypatch.setattr(scatter, "DEADLINE", 10.0)
    fill("default", settings.SHARDS)
    maps.forget()
    yield
    maps.forget()


@pytest.fixture
def deliver() -> Callable[[], list[str]]:
    """Do what workers do with what was sent: run it, and what that sends, until nothing is left;
    return the tasks.
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
