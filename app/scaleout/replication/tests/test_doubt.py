"""A write whose server is lost before it answers: the answer says that it may be stored, and not to
repeat it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import DatabaseError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import DjangoDbBlocker
from waiting import TIME_FACTOR, eventually

from scaleout.replication import quorum, state
from scaleout.replication.backend.base import DatabaseWrapper
from scaleout.replication.tests.servers import PORT, Trio
from scaleout.replication.tests.test_cluster import settings_of
from scaleout.replication.tests.test_own_reads import ALIASES, get, three_servers

SHARD = "shard0"
handler500 = "scaleout.problems.views.server_error"
runs: list[str] = []
here: list[Trio] = []


def write(alias: str = "default") -> None:
    """Write, in one statement."""
    runs.append(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = price || '+'")


def single(_request: HttpRequest) -> HttpResponse:
    """Write by a statement that is its own transaction."""
    write()
    return HttpResponse("stored")


def whole(_request: HttpRequest) -> HttpResponse:
    """Write in a transaction."""
    with transaction.atomic():
        write()
    return HttpResponse("stored")


def shard(_request: HttpRequest) -> HttpResponse:
    """Write to a shard, in a transaction."""
    with transaction.atomic(using=SHARD):
        write(SHARD)
    return HttpResponse("stored")


def tolerant(_request: HttpRequest) -> HttpResponse:
    """Do without the write where it fails."""
    try:
        write()
    except DatabaseError:
        return HttpResponse("without")
    return HttpResponse("stored")


def unaware(_request: HttpRequest) -> HttpResponse:
    """Answer as if the write had failed."""
    try:
        write()
    except DatabaseError:
        return HttpResponse(status=503, headers={"Retry-After": "1"})
    return HttpResponse("stored")


def late(_request: HttpRequest) -> HttpResponse:
    """Write in a transaction whose server is lost before its end."""
    with transaction.atomic():
        write()
        end_of(connections["default"])
    return HttpResponse("stored")


def idle(_request: HttpRequest) -> HttpResponse:
    """Write by one statement over a connection that was lost before."""
    connections["default"].ensure_connection()
    end_of(connections["default"])
    write()
    return HttpResponse("stored")


def inside(_request: HttpRequest) -> HttpResponse:
    """Lose the server inside a transaction, at a statement."""
    with transaction.atomic():
        write()
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE shown SET price = pg_terminate_backend(pg_backend_pid())::text")
    return HttpResponse("stored")


def refused(_request: HttpRequest) -> HttpResponse:
    """Write what the server refuses at the COMMIT."""
    with transaction.atomic():
        write()
        with connections["default"].cursor() as cursor:
            cursor.execute("INSERT INTO refused VALUES (1)")
    return HttpResponse("stored")


VIEWS: list[Callable[[HttpRequest], HttpResponse]] = [
    get, single, whole, shard, tolerant, unaware, late, idle, inside, refused,
]  # fmt: skip
urlpatterns = [path(view.__name__, view) for view in VIEWS]

# Serialization failures and the like come at the COMMIT too, over a connection that stays.
REFUSE = """
    CREATE TABLE refused (number int);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not serialize' USING ERRCODE = '40001'; END $$;
    CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON refused DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def end_of(connection: Any) -> None:
    """End the server's side of `connection`, and wait for that."""
    here[0].one.execute(f"SELECT pg_terminate_backend({connection.connection.info.backend_pid}, 30000)")


@pytest.fixture(scope="module")
def servers(django_db_blocker: DjangoDbBlocker) -> Iterator[Trio]:
    """Three servers, of which the primary waits for one of the others at each commit."""
    with three_servers(django_db_blocker, REFUSE, confirmed=True) as trio:
        here.append(trio)
        yield trio
        here.clear()


@pytest.fixture
def trio(servers: Trio, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trio]:
    """The same, with nothing written, and commits that wait for as long as it takes."""
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(quorum, "LONGEST", 60.0)
    runs.clear()
    before = connections[SHARD]
    connections[SHARD] = DatabaseWrapper(settings_of(HOST=servers.one.host), SHARD)
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    eventually(lambda: servers.one.execute(streaming) == "2", 20, "both standbys to stream")
    servers.one.execute("UPDATE shown SET price = ''")
    cluster, of_shard = (connections[alias].cluster for alias in ("default", SHARD))  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: cluster.primary() and len(cluster.standbys()) == 2, 20, "all three to be in use")
    eventually(of_shard.primary, 20, "the shard's watch, which is another one, to find its server again")
    state.begin()
    yield servers
    thaw(servers)
    for alias in (*ALIASES, SHARD):
        connections[alias].close()
    connections[SHARD] = before


def thaw(trio: Trio) -> None:
    """Let the standbys confirm again."""
    for server in (trio.two, trio.three):
        server.thaw()


def terminate(trio: Trio, pid: int) -> None:
    """End the server's process, as an administrator does."""
    trio.one.execute(f"SELECT pg_terminate_backend({pid})")


def kill(trio: Trio, pid: int) -> None:
    """Kill the server's process: PostgreSQL ends all others, and starts again."""
    with psycopg.connect(host=trio.one.host, port=PORT, user="tester", dbname="postgres", autocommit=True) as other:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: ended(other), 20, "the server to notice it: before that it still answers")


def ended(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has ended a connection."""
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def power_off(trio: Trio, _pid: int) -> None:
    """Stop the server as if the machine had lost power, and start it again."""
    trio.one.stop()
    trio.one.start()


def asked(name: str, method: str = "post", client: Client | None = None) -> Any:
    """Return the answer of a view."""
    return getattr(client or Client(raise_request_exception=False), method)(f"/{name}")


def lost_at_the_commit(trio: Trio, name: str, method: str = "post", how: Any = terminate) -> Any:
    """Return the answer of a view whose server is lost while its commit waits for a standby, and
    let that be stored.
    """
    for server in (trio.two, trio.three):
        server.freeze()
    thread = threading.Thread(target=lose, args=[trio, how])
    thread.start()
    answer = asked(name, method)
    thread.join(30 * TIME_FACTOR)
    thaw(trio)
    eventually(lambda: answers(trio), 30, "the primary to answer")
    return answer


def lose(trio: Trio, how: Any) -> None:
    """Lose the server of a commit that waits for a standby."""
    waiting = "SELECT min(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    eventually(lambda: trio.one.execute(waiting) != "None", 20, "the commit to wait")
    how(trio, int(trio.one.execute(waiting)))


def answers(trio: Trio) -> bool:
    """Return whether the primary answers, after a crash."""
    try:
        return trio.one.execute("SELECT 1") == "1"
    except psycopg.OperationalError:
        return False


def assert_in_doubt(answer: Any) -> None:
    """The write may be stored: that is said, and nothing invites the caller to repeat it."""
    assert answer.status_code == 503
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == quorum.Unconfirmed.detail
    assert "may have been stored" in answer.json()["detail"]
    assert "Retry-After" not in answer


def assert_failed(answer: Any) -> None:
    """The write is not stored: it may be repeated."""
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert "may have been stored" not in answer.content.decode()


# Each way and each kind of write in each run; the other pairs are long tests.
PAIRS = [
    pytest.param(name, how, marks=[] if number == place else [pytest.mark.long])
    for number, name in enumerate(["single", "whole", "shard"])
    for place, how in enumerate([terminate, kill, power_off])
]


@pytest.mark.parametrize(("name", "how"), PAIRS)
def test_a_write_whose_server_is_lost_during_its_commit_may_be_stored(trio: Trio, name: str, how: Any) -> None:
    assert_in_doubt(lost_at_the_commit(trio, name, how=how))
    assert trio.one.execute("SELECT price FROM shown") == "+", "here it is stored"
    assert len(runs) == 1


def test_a_read_with_the_answer_s_position_shows_what_is_stored(trio: Trio) -> None:
    client = Client(raise_request_exception=False)
    answer = lost_at_the_commit(trio, "whole")
    for standby in (trio.two, trio.three):
        standby.execute("SELECT pg_wal_replay_pause()")
    try:
        trio.one.execute("UPDATE shown SET price = price || 'here'")
        client.cookies.update(answer.cookies)
        assert asked("get", "get", client).content == b"+here"
        seen = Client().get("/get", headers={"X-Read-After": answer["X-Read-After"]})
        assert seen.content == b"+here"
    finally:
        for standby in (trio.two, trio.three):
            standby.execute("SELECT pg_wal_replay_resume()")


def test_a_get_that_writes_is_not_run_once_more(trio: Trio) -> None:
    assert_in_doubt(lost_at_the_commit(trio, "whole", "get"))
    assert len(runs) == 1


def test_a_view_that_does_without_the_write_answers_what_it_likes(trio: Trio) -> None:
    assert lost_at_the_commit(trio, "tolerant").content == b"without"


def test_a_view_that_takes_it_for_a_failure_is_corrected(trio: Trio) -> None:
    assert_in_doubt(lost_at_the_commit(trio, "unaware"))


@pytest.mark.parametrize("name", ["late", "idle", "inside", "refused"])
def test_a_write_that_fails_before_its_commit_may_be_repeated(trio: Trio, name: str) -> None:
    assert_failed(asked(name))
    assert trio.one.execute("SELECT price FROM shown") == "", "nothing is stored"
    connections.close_all()  # as at the end of a request, which Django's test client leaves out
    assert asked("single").content == b"stored"


def test_outside_of_a_request_the_error_says_so(trio: Trio) -> None:
    for server in (trio.two, trio.three):
        server.freeze()
    thread = threading.Thread(target=lose, args=[trio, terminate])
    thread.start()
    with pytest.raises(quorum.Unconfirmed):
        write()
    thread.join(30 * TIME_FACTOR)
