"""The watch over a real primary and two real standbys, through pauses, lag, loss and promotion."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.postgres.signals import register_type_handlers
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings
from waiting import TIME_FACTOR, eventually

from scaleout.replication import lsn, state
from scaleout.replication.backend import base
from scaleout.replication.backend.base import DatabaseWrapper, stop_watching
from scaleout.replication.cluster import Cluster
from scaleout.replication.server import Server
from scaleout.replication.tests.servers import PORT, Postgres, Trio

LIMIT = 1.5  # seconds that a standby may lag
OUT = 4.0  # seconds until a server that is lost is out of use: twice what it takes on a quiet machine
WOKEN = 10.0  # seconds until a query on a server that hangs gets an error: five times that


@pytest.fixture
def trio(django_db_blocker: DjangoDbBlocker) -> Iterator[Trio]:
    folder = Path(tempfile.mkdtemp(prefix="trio-"))
    servers = Trio(folder)
    # It would ask the database that Django's own alias of that name leads to.
    connection_created.disconnect(register_type_handlers)
    with django_db_blocker.unblock():  # these databases are the test's own
        yield servers
    connection_created.connect(register_type_handlers)
    stop_watching()
    servers.end(folder)


@pytest.fixture
def cluster(trio: Trio) -> Iterator[Cluster]:
    def connect(host: str) -> Any:
        return psycopg.connect(host=host, port=PORT, user="tester", dbname="postgres", autocommit=True)

    watched = Cluster([server.host for server in trio.servers], connect, max_lag_seconds=LIMIT, max_lag_bytes=2**26)
    yield watched
    watched.stop()


def settings_of(**more: Any) -> dict[str, Any]:
    """Return the settings of an alias in a server process: with a pool."""
    settings: dict[str, Any] = {
        "ENGINE": "scaleout.replication.backend",
        "NAME": "postgres",
        "USER": "tester",
        "PASSWORD": "",
        "PORT": PORT,
        "OPTIONS": {"pool": {"min_size": 0, "max_size": 4, "timeout": 1.5}, "connect_timeout": 2},
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 0,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TIME_ZONE": None,
        "TEST": {"NAME": None, "MIRROR": None, "CHARSET": None, "COLLATION": None, "MIGRATE": True},
    }
    return settings | more


def wrapper(trio: Trio, alias: str, **more: Any) -> DatabaseWrapper:
    """Return an alias that leads to the three servers."""
    return DatabaseWrapper(settings_of(HOST=",".join(server.host for server in trio.servers), **more), alias)


def one_value(connection: DatabaseWrapper, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        value = cursor.fetchone()[0]
    connection.close()
    return value


@contextmanager
def as_djangos(*wrappers: DatabaseWrapper) -> Iterator[None]:
    """Put them into the place of Django's own."""
    before = {one.alias: connections[one.alias] for one in wrappers}
    state.begin()  # else the server that a request of another test has chosen stays chosen
    try:
        for one in wrappers:
            connections[one.alias] = one
        yield
    finally:
        for alias, own in before.items():
            connections[alias].close()
            connections[alias] = own


def pause(standby: Postgres) -> None:
    """Let a standby receive the log and replay none of it."""
    standby.execute("SELECT pg_wal_replay_pause()")
    eventually(lambda: standby.execute("SELECT pg_get_wal_replay_pause_state()") == "paused", 5, "replay to pause")


def ready(cluster: Cluster) -> None:
    """Wait until all three servers are in use: one of them may be slow to answer for a moment."""
    eventually(lambda: cluster.primary() and len(cluster.standbys()) == 2, 10, "all three to be in use")


def removed(cluster: Cluster, server: Postgres) -> bool:
    """Return whether `server` is not read because it lags, and not because its answer is late."""
    return server.host not in cluster.standbys() and cluster.lag(server.host)[0] > LIMIT


def test_the_primary_and_the_standbys_are_known_at_the_first_question(trio: Trio, cluster: Cluster) -> None:
    assert cluster.primary() == trio.one.host
    assert sorted(cluster.standbys()) == sorted([trio.two.host, trio.three.host])
    assert {cluster.standby(0), cluster.standby(1)} == {trio.two.host, trio.three.host}


def test_a_standby_whose_replay_is_paused_is_left_out_once_it_lags_and_comes_back(trio: Trio, cluster: Cluster) -> None:
    ready(cluster)
    pause(trio.two)
    trio.one.execute("CREATE TABLE written (number int)")
    written = lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()"))
    eventually(lambda: cluster.position(trio.three.host) >= written, 2, "three to have replayed the write")
    assert cluster.position(trio.two.host) < written
    eventually(lambda: removed(cluster, trio.two), 4, "two to be left out")
    eventually(lambda: cluster.standbys() == [trio.three.host], 4, "three to be left")
    assert cluster.standby(0) == cluster.standby(1) == trio.three.host
    seconds, size = cluster.lag(trio.two.host)
    assert seconds > 1.5
    assert size > 0
    trio.two.execute("SELECT pg_wal_replay_resume()")
    eventually(lambda: len(cluster.standbys()) == 2, 3, "two standbys to recover")


def test_an_idle_primary_makes_no_standby_lag(trio: Trio, cluster: Cluster) -> None:
    ready(cluster)
    pause(trio.two)
    threading.Event().wait(2.5)  # longer than the limit of 1.5 s: the passing of time is what is tested
    ready(cluster)


def never_read(cluster: Cluster, host: str, seconds: float) -> bool:
    """Return whether `host` is not usable for `seconds`: the passing of time is what is tested."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if host in cluster.standbys():
            return False
        time.sleep(0.02)  # between two looks
    return True


def stop_replay(trio: Trio) -> Callable[[], object]:
    trio.two.execute("SELECT pg_wal_replay_pause()")
    eventually(lambda: trio.two.execute("SELECT pg_get_wal_replay_pause_state()") == "paused", 5, "replay to pause")
    return lambda: trio.two.execute("SELECT pg_wal_replay_resume()")


def stop_receiver(trio: Trio) -> Callable[[], object]:
    receiver = trio.two.receiver()
    os.kill(receiver, signal.SIGSTOP)
    return lambda: os.kill(receiver, signal.SIGCONT)


@pytest.mark.parametrize("stop", [stop_replay, stop_receiver])
def test_a_removed_standby_returns_only_when_it_has_caught_up_however_seldom_the_primary_writes(
    trio: Trio, cluster: Cluster, stop: Callable[[Trio], Callable[[], object]]
) -> None:
    trio.one.execute("CREATE TABLE written (number int)")
    eventually(lambda: len(cluster.standbys()) == 2, 3, "both to be usable")
    resume = stop(trio)
    try:
        trio.one.execute("INSERT INTO written VALUES (1)")
        eventually(lambda: removed(cluster, trio.two), 5, "two to be removed")
        for _ in range(2):
            assert never_read(cluster, trio.two.host, 2)  # more than the limit of 1.5 s
            trio.one.execute("INSERT INTO written VALUES (1)")
        assert never_read(cluster, trio.two.host, 1)
        assert cluster.lag(trio.two.host)[0] > 5
    finally:
        resume()
    eventually(lambda: len(cluster.standbys()) == 2, 5, "two to return")
    assert trio.two.execute("SELECT count(*) FROM written") == "3"


def write(trio: Trio) -> int:
    """Create a table and return the position of that, once `three` has replayed it.

    What no standby has got would be lost with the primary, and no standby would lack it.
    """
    trio.one.execute("CREATE TABLE written (number int)")
    written = lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()"))
    eventually(
        lambda: lsn.parse(trio.three.execute("SELECT pg_last_wal_replay_lsn()")) >= written, 5, "three to replay it"
    )
    return written


def test_a_process_that_starts_does_not_read_a_standby_that_lacks_something_for_an_unknown_time(
    trio: Trio, cluster: Cluster
) -> None:
    stop_replay(trio)
    write(trio)
    assert never_read(cluster, trio.two.host, 1)


@pytest.mark.parametrize("alone", [False, True])
def test_a_standby_that_was_away_is_not_read_before_it_has_caught_up(
    trio: Trio, cluster: Cluster, *, alone: bool
) -> None:
    ready(cluster)
    trio.two.stop()
    eventually(lambda: cluster.standbys() == [trio.three.host], OUT, "two to be missed")
    written = write(trio)
    trio.one.stop()
    eventually(lambda: cluster._history.end >= written, 2, "the watch to see it")
    if alone:
        trio.three.stop()
    threading.Event().wait(2)  # longer than the limit of 1.5 s
    trio.two.start()
    eventually(lambda: cluster.up(trio.two.host), 3, "two to answer")
    assert never_read(cluster, trio.two.host, 2)


def test_a_removed_standby_stays_so_when_the_primary_is_lost_and_when_no_other_is_left(
    trio: Trio, cluster: Cluster
) -> None:
    ready(cluster)
    stop_replay(trio)
    write(trio)
    eventually(lambda: removed(cluster, trio.two), 5, "two to be removed")
    eventually(lambda: cluster.standbys() == [trio.three.host], 5, "three to be left")
    trio.one.stop()
    eventually(lambda: cluster.primary() is None, OUT, "the primary to be missed")
    assert never_read(cluster, trio.two.host, 2)
    trio.three.stop()
    eventually(lambda: cluster.standbys() == [], OUT, "three to be missed")
    assert never_read(cluster, trio.two.host, 2)


def test_what_the_lost_primary_had_sent_to_no_standby_removes_none(
    trio: Trio, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(cluster)
    # From the write to the loss of the primary both lag: as long as this machine takes for it.
    monkeypatch.setattr(cluster, "_max_lag_seconds", 60.0)
    receivers = [trio.two.receiver(), trio.three.receiver()]
    for receiver in receivers:
        os.kill(receiver, signal.SIGSTOP)
    try:
        trio.one.execute("CREATE TABLE written (number int)")
        written = lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()"))
        eventually(lambda: cluster.position(trio.one.host) >= written, 2, "the position of the primary")
        trio.one.stop()
        eventually(lambda: cluster.primary() is None, OUT, "the primary to be missed")
        monkeypatch.setattr(cluster, "_max_lag_seconds", 0.5)
        threading.Event().wait(1)  # longer than the limit: the passing of time is what is tested
        assert cluster.lag(trio.two.host) == cluster.lag(trio.three.host) == (0.0, 0)
        eventually(lambda: len(cluster.standbys()) == 2, 3, "both to be usable")
    finally:
        for receiver in receivers:
            os.kill(receiver, signal.SIGCONT)


def test_what_was_lost_with_the_old_primary_is_lacked_by_no_standby_of_the_new_one(
    trio: Trio, cluster: Cluster
) -> None:
    cluster.primary()
    for server in (trio.two, trio.three):
        server.stop()
    trio.one.execute("CREATE TABLE written AS SELECT generate_series(1, 100000)")
    written = lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()"))
    eventually(lambda: cluster.position(trio.one.host) >= written, 2, "the position of the primary")
    trio.one.stop()
    trio.two.start()
    trio.three.start()
    trio.two.promote()
    eventually(lambda: cluster.primary() == trio.two.host, 5, "the new primary to be known")
    trio.three.execute(f"ALTER SYSTEM SET primary_conninfo = 'host={trio.two.host} port={PORT} user=tester'")
    trio.three.execute("SELECT pg_reload_conf()")
    eventually(lambda: cluster.standbys() == [trio.three.host], 10, "three to follow the new primary")
    assert cluster.position(trio.two.host) < written
    threading.Event().wait(2)  # longer than the limit of 1.5 s
    eventually(lambda: cluster.standbys() == [trio.three.host], 3, "three to be usable still")


def test_a_standby_that_hangs_is_removed_and_its_waiting_readers_wake_up(trio: Trio) -> None:
    reader = wrapper(trio, "replica1", STANDBY=0)
    assert one_value(reader, "SELECT pg_is_in_recovery()") is True
    cluster = reader.cluster
    first = next(server for server in trio.servers if server.host == cluster.standby(0))
    reader.ensure_connection()
    first.freeze()
    began = time.monotonic()
    with pytest.raises(OperationalError), reader.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert time.monotonic() - began < WOKEN * TIME_FACTOR
    reader.close()
    eventually(lambda: cluster.standby(0) not in (None, first.host), 10, "the other one to be read")
    assert one_value(reader, "SELECT pg_is_in_recovery()") is True
    first.thaw()
    eventually(lambda: len(cluster.standbys()) == 2, 6, "it to recover")


def test_an_error_in_the_watch_does_not_end_it(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []

    def failing(do: Callable[[Server], None]) -> Callable[[Server], None]:
        def once(server: Server) -> None:
            if len(failures) < 6:  # more than there are threads
                failures.append(server.host)
                raise RuntimeError("a fault of ours")
            do(server)

        return once

    reader = wrapper(trio, "replica1", STANDBY=0)
    cluster = reader.cluster
    ready(cluster)
    monkeypatch.setattr(Server, "cut_all", failing(Server.cut_all))
    monkeypatch.setattr(cluster, "_observe", failing(cluster._observe))
    eventually(lambda: len(failures) >= 6, 5, "the watch to fail")
    eventually(lambda: len(cluster.standbys()) == 2, 3, "the standbys to be usable again")
    failures.clear()
    trio.two.freeze()
    eventually(lambda: cluster.standbys() == [trio.three.host], 5, "two to be removed")
    trio.two.thaw()
    eventually(lambda: len(cluster.standbys()) == 2, 6, "two to return")


def test_connections_may_be_opened_while_others_are_cut() -> None:
    class Closed:
        def fileno(self) -> int:
            raise OSError

    server, stop = Server("nowhere"), threading.Event()

    def register() -> None:
        kept: deque[Any] = deque(maxlen=40)  # so that old ones leave the set, too
        while not stop.is_set():
            kept.append(Closed())
            server.register(kept[-1])

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            server.cut_all()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_writes_follow_a_promotion_and_an_old_primary_that_comes_back_is_not_believed(trio: Trio) -> None:
    writer = wrapper(trio, "default")
    assert one_value(writer, "SELECT pg_is_in_recovery()") is False
    trio.one.stop()
    eventually(lambda: writer.cluster.primary() is None, OUT, "the primary to be missed")
    with pytest.raises(OperationalError, match="no server for default"):  # without a try to connect
        writer.ensure_connection()
    trio.two.promote()
    eventually(lambda: writer.cluster.primary() == trio.two.host, 3, "the new primary to be known")
    with writer.cursor() as cursor:
        cursor.execute("CREATE TABLE after_promotion ()")
    writer.close()
    trio.one.start()
    eventually(lambda: writer.cluster.up(trio.one.host), 3, "the old primary to answer")
    assert writer.cluster.primary() == trio.two.host
    assert trio.two.host not in writer.cluster.standbys()


def test_a_connection_that_the_server_has_closed_is_not_lent(trio: Trio) -> None:
    writer = wrapper(trio, "default")
    pid = one_value(writer, "SELECT pg_backend_pid()")
    trio.one.execute(f"SELECT pg_terminate_backend({pid}, 30000)")
    assert one_value(writer, "SELECT pg_backend_pid()") != pid


def test_the_pool_to_a_server_that_is_lost_is_closed_and_a_new_one_is_made_when_it_is_back(trio: Trio) -> None:
    writer = wrapper(trio, "default")
    one_value(writer, "SELECT 1")
    pool = writer.pool
    assert pool is not None
    trio.one.stop()
    eventually(lambda: pool.closed, OUT, "the pool to the lost server to be closed")
    trio.one.start()
    eventually(lambda: writer.cluster.primary() == trio.one.host, 5, "the server to be back")
    assert one_value(writer, "SELECT 1") == 1
    assert writer.pool is not pool


def test_a_browser_and_a_caller_read_the_primary_until_the_replica_has_replayed_their_write(
    trio: Trio, settings: Settings
) -> None:
    settings.ROOT_URLCONF = "scaleout.replication.tests.test_router"
    settings.REPLICATION = settings.REPLICATION | {"REPLICAS": ["replica1"]}
    lag = {"seconds": 600.0, "bytes": 2**30}  # none is left out: the position alone decides

    def asked(client: Client, **headers: str) -> str:
        return str(client.get("/read", headers=headers)["X-Database"])

    aliases = [wrapper(trio, "default", LAG=lag), wrapper(trio, "replica1", LAG=lag, STANDBY=0)]
    with as_djangos(*aliases):
        for standby in (trio.two, trio.three):
            pause(standby)
        browser, other = Client(), Client()
        written = browser.get("/write")["X-Read-After"]
        assert asked(browser) == "replica1,default", "the replica is asked how far it is, and then the primary"
        assert asked(other, **{"X-Read-After": written}) == "replica1,default"
        assert asked(other) == "replica1", "who has written nothing reads the replica"
        for standby in (trio.two, trio.three):
            standby.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: asked(browser) == "replica1", 5, "the replica to have replayed the write")
        far = {"X-Read-After": "FFFFFFFF/FFFFFFFF"}
        eventually(lambda: asked(other, **far) == "replica1", 5, "the replica to answer, as far as there is a log")


def test_the_aliases_share_one_pool_to_each_server_whatever_its_role_becomes(trio: Trio) -> None:
    writer = wrapper(trio, "default")
    readers = [wrapper(trio, f"replica{number}", STANDBY=number - 1) for number in (1, 2)]
    with as_djangos(writer, *readers):
        trio.three.stop()
        eventually(lambda: writer.cluster.standbys() == [trio.two.host], OUT, "one standby to be left")
        for connection in (writer, *readers):
            assert one_value(connection, "SELECT 1") == 1
        assert readers[0].pool is readers[1].pool is not writer.pool
        trio.two.stop()
        eventually(lambda: writer.cluster.standbys() == [], OUT, "no standby to be left")
        for reader in readers:
            assert one_value(reader, "SELECT pg_is_in_recovery()") is False
            assert reader.pool is writer.pool
        trio.two.start()
        eventually(lambda: writer.cluster.standbys() == [trio.two.host], 10, "the standby to be back")
        assert one_value(readers[0], "SELECT pg_is_in_recovery()") is True
        meant_for_a_standby = readers[0].pool
        assert meant_for_a_standby is not None
        trio.one.stop()
        trio.two.promote()
        eventually(lambda: writer.cluster.primary() == trio.two.host, OUT, "the new primary to be known")
        eventually(lambda: meant_for_a_standby.closed, OUT, "the pool to a standby that is none now to be closed")
        for connection in (writer, *readers):
            assert one_value(connection, "SELECT pg_is_in_recovery()") is False
        used = [key[-2] for key, pool in base._pools.items() if key[-1][0] == trio.two.host and not pool.closed]
        assert used == [False], "only as the primary"


def test_a_replica_alias_reads_the_primary_when_there_is_no_standby(trio: Trio) -> None:
    reader = wrapper(trio, "replica2", STANDBY=1)
    trio.two.stop()
    trio.three.stop()
    reader.cluster.primary()
    eventually(lambda: reader.cluster.standbys() == [], OUT, "the standbys to be missed")
    assert one_value(reader, "SELECT pg_is_in_recovery()") is False


def test_positions_compare_as_numbers() -> None:
    assert lsn.parse("1/0") > lsn.parse("0/FFFFFFFF")
    assert lsn.render(lsn.parse("16/B374D848")) == "16/B374D848"
    for bad in ("", "/", "0", "G/0", "1/2/3", "123456789/0", "0/0 "):
        with pytest.raises(ValueError, match="not a position"):
            lsn.parse(bad)


def test_a_process_closes_its_pools_when_it_ends(trio: Trio) -> None:
    program = f"""
import atexit, sys
atexit.register(lambda: print([pool.closed for pool in pools]))  # after what is registered later
sys.path[:0] = {sys.path!r}
import django
from django.conf import settings
settings.configure(REPLICATION={{"REPLICAS": []}})
from scaleout.replication.backend import base
from scaleout.replication.backend.base import DatabaseWrapper
connection = DatabaseWrapper({wrapper(trio, "default").settings_dict!r}, "default")
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
connection.close()
pools = list(base._pools.values())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60 * TIME_FACTOR, capture_output=True, text=True
    )
    assert ended.stdout == "[True]\n", "else psycopg_pool waits for each thread at the interpreter's end"


def restore(trio: Trio, backup: Postgres) -> None:
    """Put the backup in the place of the whole cluster."""
    for server in trio.servers:
        server.stop()
        shutil.rmtree(server.data)
    trio.one.command("cp", "--archive", str(backup.data), str(trio.one.data))
    trio.one.start()
    for server in (trio.two, trio.three):
        trio.copy(server)


def test_a_cluster_that_was_restored_from_a_backup_under_a_running_process_is_read_by_its_standbys(
    trio: Trio, cluster: Cluster
) -> None:
    ready(cluster)
    backup = Postgres(trio.one.folder / "backup")
    trio.one.command("mkdir", str(backup.folder))
    trio.one.command("pg_basebackup", "-D", str(backup.data), "-c", "fast", "--no-sync", "-d", trio.source)
    for _ in range(10):
        trio.one.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
        trio.one.execute("SELECT pg_switch_wal()")
    lost = lsn.parse(trio.one.execute("SELECT pg_current_wal_lsn()"))
    eventually(lambda: cluster.position(trio.one.host) >= lost, 10, "the watch to know what will be lost")
    before = time.monotonic()
    restore(trio, backup)
    eventually(lambda: cluster.primary() == trio.one.host and len(cluster.standbys()) == 2, 30, "all to be in use")
    assert cluster.position(trio.one.host) < lost, "the log is shorter"
    assert cluster.bounded(lost) < lost
    pause(trio.two)
    trio.one.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
    eventually(lambda: cluster.lag(trio.two.host)[1] > 0, 10, "the standby to lack what was written")
    now, (seconds, _) = time.monotonic(), cluster.lag(trio.two.host)
    assert now - seconds > before, "it lacks nothing that is older than the restore"
