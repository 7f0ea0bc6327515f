"""The cache above a primary and standbys that lag: what is computed after a change has seen it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections, router, transaction
from django_redis import get_redis_connection
from pytest_django import DjangoDbBlocker
from scaleout.caching import invalidate, multi_level_cache, process, shared
from scaleout.replication import state
from scaleout.replication.backend.base import DatabaseWrapper, stop_watching
from scaleout.replication.tests.servers import PORT, Postgres, Trio
from shop.products.models import Product
from waiting import eventually

ALIASES = ("default", "replica1", "replica2")


def _alias(trio: Trio, **more: Any) -> dict[str, Any]:
    return {
        **connections["default"].settings_dict,
        "NAME": "postgres",
        "USER": "tester",
        "PASSWORD": "",
        "HOST": ",".join(server.host for server in trio.servers),
        "PORT": PORT,
        "OPTIONS": {"pool": {"min_size": 0, "max_size": 4, "timeout": 1.5}, "connect_timeout": 2},
        **more,
    }


@pytest.fixture
def trio(django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trio]:
    """Three servers with one row, and Django's three aliases on them. Redis is there for long."""
    monkeypatch.setattr(shared, "NEW", 0)
    folder = Path(tempfile.mkdtemp(prefix="trio-"))
    servers = Trio(folder)
    with django_db_blocker.unblock():
        ours = {
            "default": _alias(servers),
            "replica1": _alias(servers, STANDBY=0),
            "replica2": _alias(servers, STANDBY=1),
        }
        before = {alias: connections[alias] for alias in ALIASES}
        for alias in ALIASES:
            connections[alias] = DatabaseWrapper(ours[alias], alias)
        servers.one.execute("CREATE TABLE shown (price text)")
        servers.one.execute("INSERT INTO shown VALUES ('old')")
        for server in (servers.two, servers.three):
            eventually(partial(_has_row, server), 5, "the standbys to have the row")
        state.begin()
        yield servers
        for alias in ALIASES:
            connections[alias].close()
            connections[alias] = before[alias]
        stop_watching()
    servers.end(folder)


def _has_row(server: Postgres) -> bool:
    return server.execute("SELECT to_regclass('shown') IS NOT NULL") == "True" and bool(
        server.execute("SELECT price FROM shown")
    )


def read_price() -> str:
    """Read where the router says, as the ORM does."""
    with connections[router.db_for_read(Product)].cursor() as cursor:
        cursor.execute("SELECT price FROM shown")
        return str(cursor.fetchone()[0])


@multi_level_cache(timeout=60, key="price", tags=("price",))
def price() -> str:
    return read_price()


def change(text: str) -> None:
    """Write as another request does."""
    state.begin()
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = %s", [text])
        invalidate("price")


def pause(server: Postgres) -> None:
    server.execute("SELECT pg_wal_replay_pause()")
    eventually(lambda: server.execute("SELECT pg_get_wal_replay_pause_state()") == "paused", 5, "replay to pause")


def visit() -> str:
    """Read as a request whose caller has written nothing."""
    state.begin()
    return price()


def test_what_is_computed_after_a_change_has_seen_it_though_every_standby_lags(trio: Trio) -> None:
    assert visit() == "old"
    pause(trio.two)
    pause(trio.three)
    for number in range(10):
        change(f"price {number}")
        state.begin()
        assert read_price() != f"price {number}", "the standbys are behind: without the cache's care this would be kept"
        assert visit() == f"price {number}"
        caches["local"].clear()
        assert visit() == f"price {number}", "in Redis as well"


def test_with_the_primary_away_and_the_standbys_behind_pages_go_on_and_nothing_old_is_kept(trio: Trio) -> None:
    assert visit() == "old"
    pause(trio.two)
    pause(trio.three)
    change("new")
    trio.one.stop()
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: cluster.primary() is None, 5, "the primary to be known as lost")
    assert visit() == "old", "there is no server that has the new one"
    assert price.peek() is not None
    caches["local"].clear()
    assert price.peek() is None, "Redis must not hold it"


def test_a_reader_of_a_standby_that_began_before_the_change_leaves_nothing_old(trio: Trio) -> None:
    changes = ["new"]

    @multi_level_cache(timeout=60, key="slow-price", tags=("price",))
    def slow_price() -> str:
        found = read_price()
        if changes:
            change(changes.pop())  # another request, during this one
        return found

    assert slow_price() == "old", "it had asked before"
    assert slow_price.peek() is None
    state.begin()
    assert slow_price() == "new"


def test_no_invalidation_is_sent_before_the_commit_or_after_a_rollback(trio: Trio) -> None:
    assert visit() == "old"
    position = process.current.ledger.position
    with transaction.atomic():
        invalidate("price")
        assert process.current.ledger.position == position
        transaction.set_rollback(True)
    assert price.peek() is not None
    with transaction.atomic():
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE shown SET price = 'new'")
        invalidate("price")
        assert price() == "new", "who has changed it sees it"
        assert process.current.ledger.position == position
    assert visit() == "new"


@pytest.mark.parametrize("lost", ["Redis", "the way to Redis"])
def test_a_change_before_redis_was_lost_is_seen_although_every_standby_lags(
    trio: Trio, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visit() == "old"
    pause(trio.two)
    pause(trio.three)
    change("new")
    if lost == "Redis":
        monkeypatch.setattr(shared, "NEW", 15)
        get_redis_connection("default").flushall()
        process.current.end()
        process.renew()  # another process, which has heard nothing
        caches["local"].clear()
    else:
        process.current.watch.stop()
        process.current.wire.leave("the test")
    state.begin()
    assert read_price() == "old", "the standbys are behind"
    assert visit() == "new"
