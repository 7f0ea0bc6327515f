"""The pools of one process: over a fork, with all connections in use, and after threads that close
nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from pytest_django import DjangoDbBlocker
from waiting import TIME_FACTOR, eventually

from scaleout.replication.backend import base
from scaleout.replication.backend.base import DatabaseWrapper, stop_watching
from scaleout.replication.tests.test_cluster import one_value, settings_of

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
QUERIES = 300


@pytest.fixture(autouse=True)
def own_databases(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    stop_watching()
    with django_db_blocker.unblock():
        yield
    stop_watching()


def pooled(**more: Any) -> DatabaseWrapper:
    """Return the alias `default`, with a pool to the server of this run."""
    server = {
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
    }
    return DatabaseWrapper(settings_of(**server | more), "default")


def wrong_answers(connection: DatabaseWrapper, right: str) -> int:
    return sum(one_value(connection, f"SELECT '{right}'") != right for _ in range(QUERIES))


def in_child(connection: DatabaseWrapper, send: int) -> None:
    """Query as the parent does at the same time, with a connection that it may have used and with a
    new one.
    """
    said = "nothing"
    try:
        eventually(lambda: connection.cluster.primary() is not None, 20, "the watch of the child to have an answer")
        wrong = wrong_answers(connection, "child") + wrong_answers(pooled(), "child")
        said = f"{wrong} wrong, primary {connection.cluster.primary()}"
    except BaseException as error:
        said = repr(error)
    finally:
        os.write(send, said.encode())
        os._exit(0)


@pytest.mark.parametrize("held", [False, True])
def test_two_processes_never_use_one_socket(*, held: bool) -> None:
    connection = pooled()
    eventually(lambda: connection.cluster.primary() is not None, 20, "the watch to have an answer")
    backend = one_value(connection, "SELECT pg_backend_pid()")
    if held:
        connection.ensure_connection()
    lock, locked, release = base._lock, threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            locked.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(30)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        in_child(connection, send)
    release.set()
    thread.join()
    try:
        assert wrong_answers(connection, "parent") == 0
    finally:
        said = os.read(receive, 1000).decode()
        os.waitpid(child, 0)
    assert said == f"0 wrong, primary {os.environ['PGHOST']}"
    assert one_value(connection, "SELECT pg_backend_pid()") == backend, "the child has closed what is its parent's"


def test_a_pool_without_a_free_connection_says_nothing_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"pool": {"min_size": 0, "max_size": 1, "timeout": 10 * TIME_FACTOR}}
    first, second = pooled(OPTIONS=options), pooled(OPTIONS=options)
    first.ensure_connection()
    assert first.pool is not None
    first.pool.timeout = 0.1  # seconds: none is free
    suspected: list[str] = []
    monkeypatch.setattr(first.cluster, "suspect", suspected.append)
    with pytest.raises(OperationalError, match="couldn't get a connection"):
        second.ensure_connection()
    assert not suspected
    assert first.cluster.primary() == os.environ["PGHOST"]
    first.close()


def test_threads_that_end_without_closing_leave_their_connections_to_others() -> None:
    kept = []

    def use() -> None:
        connection = pooled(OPTIONS={"pool": {"min_size": 0, "max_size": 2, "timeout": 5 * TIME_FACTOR}})
        kept.append(connection)
        connection.ensure_connection()

    for _ in range(6):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert len([one for one in kept if one.connection is not None]) == 6


def test_each_server_has_its_own_port_and_each_cluster_its_own_watch() -> None:
    one = pooled(HOST="a,b", PORT="5432,5433")
    assert [one._parameters(host)["port"] for host in one.servers] == ["5432", "5433"]
    same = pooled(HOST="a,a", PORT="5433,5432")
    assert list(same.servers) == ["a:5432", "a:5433"]
    assert [same._parameters(host)["host"] for host in same.servers] == ["a", "a"]
    assert pooled(HOST="a", PORT="1").cluster is not pooled(HOST="a", PORT="2").cluster
    assert pooled(HOST="a,b", PORT="1,2").cluster is pooled(HOST="b,a", PORT="2,1").cluster
    with pytest.raises(ImproperlyConfigured, match="PORT"):
        _ = pooled(HOST="a,b,c", PORT="1,2").servers
