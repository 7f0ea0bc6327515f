"""A user whose client keeps nothing reads its own writes all the same: real servers, a real
Redis.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django_redis import get_redis_connection
from pytest_django import DjangoDbBlocker
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import eventually

from redis import Redis
from scaleout.replication import lsn, positions, state
from scaleout.replication.positions import PARALLEL, SECONDS, Positions
from scaleout.replication.tests.servers import Postgres, Trio
from scaleout.replication.tests.test_own_reads import ALIASES, get, read_price, three_servers

ANN, EVE = {"X-User": "ann"}, {"X-User": "eve"}


def user(request: HttpRequest) -> str | None:
    """Return the user, who is believed here."""
    return request.headers.get("X-User")


def post(_request: HttpRequest) -> HttpResponse:
    """Say what is read, then write."""
    seen = read_price()
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = 'new'")
    return HttpResponse(seen)


urlpatterns = [path("get", get), path("post", post)]


@pytest.fixture(scope="module")
def servers(django_db_blocker: DjangoDbBlocker) -> Iterator[Trio]:
    """Three servers."""
    with three_servers(django_db_blocker) as trio:
        yield trio


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the positions be kept in a patient Redis, and list the questions."""
    questions: list[str] = []
    ask = Positions._ask

    def counted(self: Positions, question: Callable[[Any], Any]) -> Any:
        questions.append("asked")
        return ask(self, question)

    monkeypatch.setattr(Positions, "_ask", counted)
    return questions


@pytest.fixture
def trio(servers: Trio, settings: LazySettings) -> Iterator[Trio]:
    """Three servers with the old price, and standbys that replay nothing from here on."""
    settings.ROOT_URLCONF = __name__
    settings.REPLICATION = settings.REPLICATION | {"POSITIONS": "default", "USER": f"{__name__}.user"}
    servers.one.execute("UPDATE shown SET price = 'old'")
    written = lsn.parse(servers.one.execute("SELECT pg_current_wal_lsn()"))
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    standbys = (servers.two, servers.three)
    for server in standbys:
        eventually(partial(_has, cluster, server, written), 10, "the standbys to be level")
        server.execute("SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state()"
        eventually(lambda: server.execute(paused) == "paused", 10, "replay to pause")  # noqa: B023 - called here
    state.begin()
    yield servers
    for alias in ALIASES:
        connections[alias].close()
    for server in standbys:
        server.execute("SELECT pg_wal_replay_resume()")


def _has(cluster: Any, server: Postgres, position: int) -> bool:
    return server.host in cluster.standbys() and cluster.position(server.host) >= position


@pytest.mark.usefixtures("trio")
def test_a_user_reads_its_own_write_though_the_client_keeps_nothing() -> None:
    assert Client().post("/post", headers=ANN).status_code == 200
    for _ in range(5):
        assert Client().get("/get", headers=ANN).content == b"new"
        assert Client().get("/get", headers=EVE).content == b"old", "the standbys lag"
        assert Client().get("/get").content == b"old"


@pytest.mark.usefixtures("trio")
def test_a_second_write_reads_what_the_first_has_written() -> None:
    assert Client().post("/post", headers=ANN).content == b"old"
    assert Client().post("/post", headers=ANN).content == b"new"


@pytest.mark.usefixtures("trio")
def test_a_request_asks_redis_once_and_not_without_a_user_or_with_a_position(asked: list[str]) -> None:
    def questions(request: Callable[[], Any]) -> int:
        asked.clear()
        request()
        return len(asked)

    assert questions(lambda: Client().get("/get")) == 0
    assert questions(lambda: Client().post("/post")) == 0
    assert questions(lambda: Client().get("/get", headers=ANN)) == 1
    assert questions(lambda: Client().post("/post", headers=ANN)) == 1
    assert questions(lambda: Client().get("/get", headers=ANN | {"X-Read-After": "0/1"})) == 0
    browser = Client()
    browser.cookies["read_after"] = "1"
    assert questions(lambda: browser.get("/get", headers=ANN)) == 0


@pytest.mark.usefixtures("trio")
def test_without_the_setting_redis_is_not_asked(settings: LazySettings, asked: list[str]) -> None:
    settings.REPLICATION = settings.REPLICATION | {"POSITIONS": None}
    assert Client().post("/post", headers=ANN).status_code == 200
    assert Client().get("/get", headers=ANN).content == b"old"
    assert asked == []


def request_of(name: str) -> HttpRequest:
    """Return a request of this user."""
    return RequestFactory().get("/", headers={"X-User": name})


def kept() -> Positions:
    """Return what keeps positions in the Redis of the tests."""
    return Positions(partial(get_redis_connection, "default"), user)


def test_of_writes_at_once_the_greatest_position_stays() -> None:
    here, ann = kept(), request_of("ann")
    numbers = [2**63 + number for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: here.keep(ann, number), numbers))
    here.keep(ann, 9)
    here.keep(ann, 10)
    assert here.of(ann) == numbers[-1]
    assert here.of(request_of("eve")) == 0


def test_a_position_is_forgotten_and_one_that_is_unknown_or_of_another_cluster_goes_with_the_next_write() -> None:
    here, ann, redis = kept(), request_of("ann"), get_redis_connection("default")
    here.keep(ann, lsn.MAXIMUM)
    here.keep(ann, 700)
    assert here.of(ann) == lsn.MAXIMUM, "a parallel write's may be"
    assert (SECONDS - PARALLEL) * 1000 < redis.pttl("replication:after:ann") <= SECONDS * 1000
    redis.pexpire("replication:after:ann", (SECONDS - PARALLEL) * 1000)
    here.keep(ann, 700)
    assert here.of(ann) == 700
    assert redis.ttl("replication:after:ann") > SECONDS - PARALLEL


def connections_to(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted, and end them."""
    listener.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@pytest.mark.usefixtures("trio")
def test_a_redis_that_hangs_costs_one_short_wait_and_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        port, once = silent.getsockname()[1], Retry(NoBackoff(), 0)
        hung = Redis(port=port, socket_timeout=0.05, socket_connect_timeout=0.05, retry=once)
        monkeypatch.setattr(positions, "PAUSE", 60.0)
        here = Positions(lambda: hung, user)
        monkeypatch.setattr(positions, "from_settings", lambda: here)
        assert Client().get("/get", headers=ANN).content == b"old"
        for _ in range(20):
            assert here.of(request_of("ann")) == 0
            here.keep(request_of("ann"), 1)
        assert connections_to(silent) == 1, "each of the forty that waits makes a connection of its own"
        answer = Client().post("/post", headers=ANN)
        assert (answer.status_code, answer.content) == (200, b"old"), "the write reads the primary"
        assert answer["X-Read-After"]
        monkeypatch.setattr(here._breaker, "seconds", 0.0)
        monkeypatch.setattr(here, "_redis", partial(get_redis_connection, "default"))
        here.keep(request_of("ann"), 7)
        assert here.of(request_of("ann")) == 7, "and it is asked again"


def test_what_is_kept_may_be_anything(settings: LazySettings) -> None:
    get_redis_connection("default").set("replication:after:ann", b"nonsense")
    assert kept().of(request_of("ann")) == 0
