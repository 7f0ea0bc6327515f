"""A reader sees its own write, whichever way the read takes: over a primary and two real
standbys.
"""

from __future__ import annotations

import asyncio
import pickle
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connections, router
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import DjangoDbBlocker
from waiting import eventually

from scaleout.replication import at_least, causal, lsn, state
from scaleout.replication import cluster as clusters
from scaleout.replication.backend.base import stop_watching
from scaleout.replication.cluster import Cluster
from scaleout.replication.server import Server
from scaleout.replication.tests.servers import PORT, Postgres, Trio
from scaleout.replication.tests.test_cluster import wrapper
from scaleout.replication.tests.test_router import Product

ALIASES = ("default", "replica1", "replica2")
REPLAY_LOCK = "-c lock_timeout=500"  # as config.databases has it


def read_price() -> str:
    """Read where the router says, as the ORM does."""
    with connections[router.db_for_read(Product)].cursor() as cursor:
        cursor.execute("SELECT price FROM shown")
        return str(cursor.fetchone()[0])


def get(_request: HttpRequest) -> HttpResponse:
    """Show the price."""
    return HttpResponse(read_price())


def post(_request: HttpRequest) -> HttpResponse:
    """Write."""
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = price")
    return HttpResponse()


urlpatterns = [path("get", get), path("post", post)]


def lead_to(trio: Trio) -> None:
    """Let Django's three aliases lead to the three servers, in this thread."""
    for number, alias in enumerate(ALIASES):
        connections[alias] = wrapper(trio, alias, **({"STANDBY": number - 1} if number else {}))


@contextmanager
def three_servers(blocker: DjangoDbBlocker, *statements: str, confirmed: bool = False) -> Iterator[Trio]:
    """Three servers, with the table `shown`, and Django's three aliases on them.

    `confirmed`: the primary waits for one of the others at each commit.
    """
    folder = Path(tempfile.mkdtemp(prefix="trio-"))
    trio = Trio(folder)
    with blocker.unblock():
        before = {alias: connections[alias] for alias in ALIASES}
        lead_to(trio)
        for statement in ("CREATE TABLE shown (price text)", "INSERT INTO shown VALUES ('old')", *statements):
            trio.one.execute(statement)
        if confirmed:
            trio.one.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
            # A reload reaches the processes one after the other: a commit might not wait yet.
            trio.one.stop("fast")
            trio.one.start()
        yield trio
        for alias in ALIASES:
            connections[alias].close()
            connections[alias] = before[alias]
        stop_watching()
    trio.end(folder)


@pytest.fixture(scope="module")
def servers(django_db_blocker: DjangoDbBlocker) -> Iterator[Trio]:
    """Three servers."""
    with three_servers(django_db_blocker) as trio:
        yield trio


@pytest.fixture
def trio(servers: Trio, settings: LazySettings) -> Iterator[Trio]:
    """The same, with the old price everywhere."""
    settings.ROOT_URLCONF = __name__
    servers.one.execute("UPDATE shown SET price = 'old'")
    written = lsn.parse(servers.one.execute("SELECT pg_current_wal_lsn()"))
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    for server in (servers.two, servers.three):
        eventually(partial(_has, cluster, server, written), 10, "the standbys to be level")
    state.begin()
    yield servers
    for alias in ALIASES:
        connections[alias].close()
    for server in (servers.two, servers.three):
        if not (server.data / "postmaster.pid").exists():
            server.start()
        server.execute("SELECT pg_wal_replay_resume()")


def _has(cluster: Cluster, server: Postgres, position: int) -> bool:
    return server.host in cluster.standbys() and cluster.position(server.host) >= position


def _paused(server: Postgres) -> bool:
    return server.execute("SELECT pg_get_wal_replay_pause_state()") == "paused"


def write_with_lag(trio: Trio, *lagging: str) -> int:
    """Write the new price, which the servers `lagging` do not replay; return its position."""
    for name in lagging:
        server = getattr(trio, name)
        server.execute("SELECT pg_wal_replay_pause()")
        eventually(partial(_paused, server), 5, "the pause")
    state.begin()
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = 'new'")
    return causal.position()


def test_an_object_of_an_earlier_request_leads_to_no_server_that_lacks_the_write(trio: Trio) -> None:
    state.begin()
    assert read_price() == "old"
    product = Product()
    product._state.db = router.db_for_read(Product)
    after = write_with_lag(trio, "two", "three")
    state.begin(after)
    assert router.db_for_read(Product, instance=pickle.loads(pickle.dumps(product))) == "default"  # noqa: S301 - ours


def test_an_object_of_the_same_request_leads_to_no_server_that_is_behind_by_now(trio: Trio) -> None:
    state.begin()
    assert read_price() == "old"
    product = Product()
    product._state.db = router.db_for_read(Product)
    after = copy_context().run(write_with_lag, trio, "two", "three")  # another request
    assert router.db_for_read(Product, instance=product) == product._state.db
    with at_least(after) as seen:
        assert seen
        assert router.db_for_read(Product, instance=product) == "default", "where refresh_from_db() goes"


def test_the_server_that_was_chosen_is_the_one_that_is_read(trio: Trio) -> None:
    after = write_with_lag(trio, "two")
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: cluster.position(trio.three.host) >= after, 5, "three to have it")
    for alias in ALIASES:
        connections[alias].close()
    state.begin(after)
    alias = router.db_for_read(Product)
    assert alias != "default"
    assert state.current().host == trio.three.host
    trio.three.stop()
    eventually(lambda: trio.three.host not in cluster.standbys(), 5, "three to be missed")
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT price FROM shown")
        assert cursor.fetchone() == ("new",), "what is left of the standbys has not replayed it"


def test_a_commit_that_is_not_written_out_yet_has_a_position_all_the_same(trio: Trio) -> None:
    connection = connections["default"]
    with psycopg.connect(host=trio.two.host, port=PORT, user="tester", dbname="postgres", autocommit=True) as standby:

        def has(after: int) -> bool:
            row = standby.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
            return row is not None and lsn.parse(str(row[0])) >= after

        for number in range(20):
            state.begin()
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = off")
                cursor.execute("UPDATE shown SET price = %s", [f"price {number}"])
            after = causal.position()
            eventually(partial(has, after), 10, "the standby to have it")
            assert standby.execute("SELECT price FROM shown").fetchone() == (f"price {number}",)


@pytest.fixture
def impatient() -> Iterator[None]:
    """Replicas whose sessions wait for a lock as those of the shop do."""
    replicas: list[Any] = [connections[alias] for alias in ALIASES[1:]]
    for replica in replicas:
        replica.close_pool()
        replica.settings_dict["OPTIONS"]["options"] = REPLAY_LOCK
    yield
    for replica in replicas:
        replica.close_pool()
        del replica.settings_dict["OPTIONS"]["options"]


@pytest.mark.usefixtures("impatient")
def test_a_read_that_waits_for_the_replay_of_a_lock_is_answered_by_the_primary(trio: Trio) -> None:
    standbys = (trio.two, trio.three)
    with psycopg.connect(host=trio.one.host, port=PORT, user="tester", dbname="postgres") as migration:
        migration.execute("LOCK TABLE shown IN ACCESS EXCLUSIVE MODE")
        trio.one.execute("SELECT pg_log_standby_snapshot()")  # sends what the log has by now
        for standby in standbys:
            locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
            eventually(lambda: standby.execute(locks) == "1", 10, "the lock to be replayed")  # noqa: B023 - called here
            standby.execute("SELECT pg_wal_replay_pause()")
            eventually(partial(_paused, standby), 10, "replay to pause")
    for _ in range(3):
        answer = Client().get("/get")
        assert (answer.status_code, answer.content) == (200, b"old")
        assert answer["X-Database"].split(",")[-1] == "default"


@pytest.mark.parametrize("position", ["FFFFFFFF/FFFFFFFF", "FFFFFFF/0"])
@pytest.mark.usefixtures("trio")
def test_an_invented_position_does_not_send_its_reader_to_the_primary(position: str) -> None:
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    assert causal.bounded(lsn.parse(position)) <= cluster.position(cluster.primary())
    answers = [Client().get("/get", headers={"X-Read-After": position}) for _ in range(20)]
    assert {answer.content for answer in answers} == {b"old"}
    assert any("default" not in answer["X-Database"].split(",")[-1] for answer in answers)


@pytest.mark.parametrize("ahead", [2**16, 2**23, 2**40], ids=["near", "8 MB", "far"])
def test_a_position_of_another_cluster_with_a_longer_log_is_soon_no_reason_to_read_the_primary(
    trio: Trio, ahead: int
) -> None:
    foreign = lsn.render(lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()")) + ahead)

    def by_a_replica() -> bool:
        answer = Client().get("/get", headers={"X-Read-After": foreign})
        assert (answer.status_code, answer.content) == (200, b"old")
        return "default" not in answer["X-Database"].split(",")[-1]

    eventually(by_a_replica, 5, "a replica to answer though the primary has not written so much")


def test_a_position_of_another_cluster_with_a_shorter_log_asks_for_nothing(trio: Trio) -> None:
    answers = [Client().get("/get", headers={"X-Read-After": "0/1"}) for _ in range(5)]
    assert {answer.content for answer in answers} == {b"old"}
    assert all("default" not in answer["X-Database"] for answer in answers)
    assert trio


def test_a_position_that_the_primary_has_not_written_yet_is_believed_until_it_must_have(trio: Trio) -> None:
    cluster: Cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    leader = cluster._servers[trio.one.host]
    position = leader.position + 100
    assert cluster.bounded(position) == position
    # An answer that the watch does not replace.
    answer = Server(leader.host)
    answer.answered_at = cluster._doubted[position] + clusters.WRITTEN - 0.01
    assert cluster._never_written(position, answer) is False
    answer.answered_at += 0.02
    assert cluster._never_written(position, answer) is True
    for number in range(2 * clusters.DOUBTED):
        cluster.bounded(position + number)
    assert len(cluster._doubted) <= clusters.DOUBTED


def test_of_two_answers_to_one_browser_the_one_that_comes_last_does_not_hide_the_other(trio: Trio) -> None:
    one, other = Client(), Client()
    first, second = one.post("/post"), other.post("/post")
    positions = [lsn.parse(answer["X-Read-After"]) for answer in (first, second)]
    assert positions[0] < positions[1]
    browser = Client()
    browser.cookies.update(second.cookies)
    browser.cookies.update(first.cookies)
    assert lsn.parse(browser.get("/get")["X-Read-After"]) == positions[1]
    third = browser.post("/post")
    gone = {name for name, cookie in third.cookies.items() if cookie["max-age"] == 0}
    assert gone == {f"read_after_{position:x}" for position in positions}, "no more cookies than writes at once"
    assert trio


def test_a_thread_of_a_request_reads_the_primary_and_its_write_is_the_request_s(trio: Trio) -> None:
    seen = []

    def in_thread(sql: str) -> None:
        lead_to(trio)
        seen.append(read_price())
        with connections["default"].cursor() as cursor:
            cursor.execute(sql)
        connections.close_all()

    for sql, wrote in (("SELECT 1", False), ("UPDATE shown SET price = 'newer'", True)):
        write_with_lag(trio, "two", "three")
        state.begin()
        thread = threading.Thread(target=in_thread, args=[sql])
        thread.start()
        thread.join(30)
        assert seen.pop() == "new"
        assert state.current().wrote is wrote
    state.begin()
    assert not state.current().wrote, "a later request's it is not"


def test_a_block_that_is_closed_late_changes_nothing_for_the_request_of_that_moment() -> None:
    def generate() -> Generator[int]:
        with at_least(80):
            yield 1

    state.begin()
    stream = generate()
    next(stream)
    later = state.begin(7)
    stream.close()
    assert state.current() is later


def test_two_coroutines_at_once_do_not_change_each_other_s_position() -> None:
    async def ask(first: float, second: float) -> list[int]:
        with at_least(80):
            await asyncio.sleep(first)  # so that the blocks overlap: nothing is waited for
            seen = [state.current().after]
            await asyncio.sleep(second)  # likewise
            return [*seen, state.current().after]

    async def both() -> list[list[int]]:
        state.begin()
        return list(await asyncio.gather(ask(0.01, 0.01), ask(0.05, 0.05), ask(0.03, 0.08)))

    assert asyncio.run(both()) == [[80, 80]] * 3
