"""Commits that no standby confirms: a primary that waits for two real standbys, which are
stopped.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path
from pytest_django import DjangoDbBlocker
from waiting import TIME_FACTOR, eventually

from scaleout.replication import quorum, state
from scaleout.replication.quorum import LONGEST
from scaleout.replication.tests.servers import Trio
from scaleout.replication.tests.test_own_reads import ALIASES, get, lead_to, three_servers

hooks: list[str] = []


def post(_request: HttpRequest) -> HttpResponse:
    """Write one statement."""
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shown SET price = price || '+'")
    return HttpResponse()


def post_whole(_request: HttpRequest) -> HttpResponse:
    """Write in a transaction."""
    with transaction.atomic():
        transaction.on_commit(lambda: hooks.append("run"))
        return post(_request)


def post_twice(request: HttpRequest) -> HttpResponse:
    """Write, and write again."""
    post(request)
    return post(request)


def handler500(_request: HttpRequest) -> HttpResponse:
    """Answer what a middleware has raised."""
    return JsonResponse({"detail": str(sys.exception())}, status=503)


urlpatterns = [path(name.__name__, name) for name in (get, post, post_whole, post_twice)]


@pytest.fixture(scope="module")
def servers(django_db_blocker: DjangoDbBlocker) -> Iterator[Trio]:
    """Three servers, of which the primary waits for one of the others at each commit."""
    with three_servers(django_db_blocker, confirmed=True) as trio:
        yield trio


@pytest.fixture
def trio(servers: Trio, settings: LazySettings) -> Iterator[Trio]:
    """The same, with nothing written."""
    settings.ROOT_URLCONF = __name__
    hooks.clear()
    for server in (servers.two, servers.three):
        server.thaw()
    servers.one.execute("UPDATE shown SET price = ''")
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: cluster.primary() and len(cluster.standbys()) == 2, 20, "all three to be in use")
    state.begin()
    yield servers
    for server in (servers.two, servers.three):
        server.thaw()
    for alias in ALIASES:
        connections[alias].close()


def stop_both(trio: Trio) -> None:
    """Let no standby confirm anything, as after `docker pause` of both."""
    trio.two.freeze()
    trio.three.freeze()


def asked(method: str, name: str) -> tuple[int, str, float]:
    """Return the status, the body, and the seconds of a request."""
    began = time.monotonic()
    answer = getattr(Client(raise_request_exception=False), method)(f"/{name}")
    return answer.status_code, answer.content.decode(), time.monotonic() - began


class Asking:
    """A request in a thread of its own."""

    def __init__(self, trio: Trio, ask: Callable[[], tuple[int, str, float]]) -> None:
        self.answer: tuple[int, str, float] | None = None
        self._thread = threading.Thread(target=self._run, args=[trio, ask])
        self._thread.start()

    def _run(self, trio: Trio, ask: Callable[[], tuple[int, str, float]]) -> None:
        lead_to(trio)
        try:
            self.answer = ask()
        finally:
            connections.close_all()

    def end(self) -> tuple[int, str, float]:
        """Wait for its answer."""
        self._thread.join(30 * TIME_FACTOR)
        assert self.answer is not None
        return self.answer


@pytest.mark.parametrize(("name", "written"), [("post", "+"), ("post_whole", "+"), ("post_twice", "+")])
def test_a_write_that_no_standby_confirms_is_answered_in_time_and_says_that_it_may_be_stored(
    trio: Trio, name: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patient:
        patient.setattr(quorum, "LONGEST", 60.0)  # a busy standby confirms it in time
        assert asked("post", name)[0] == 200
    trio.one.execute("UPDATE shown SET price = ''")
    hooks.clear()
    stop_both(trio)
    status, body, seconds = asked("post", name)
    assert status == 503
    assert "may have been stored" in body
    assert LONGEST <= seconds < 3 * TIME_FACTOR
    assert trio.one.execute("SELECT price FROM shown") == written, "and it writes nothing more"
    assert hooks == (["run"] if name == "post_whole" else []), "what follows a commit is done"


def test_reads_are_answered_while_writers_wait_and_one_writer_too_many_is_refused_and_writes_nothing(
    trio: Trio, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REPLICATION = settings.REPLICATION | {"WRITERS": 2}
    monkeypatch.setattr(quorum, "LONGEST", 60.0)  # they wait for as long as this test looks at them
    stop_both(trio)
    waiting = [Asking(trio, lambda: asked("post", "post_whole")) for _ in range(2)]
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: len(cluster.writes._now) == 2 and cluster.writes.stuck, 5, "both to wait")
    status, body, _ = asked("post", "post")
    assert status == 503
    assert "may have been stored" not in body
    assert asked("get", "get")[0] == 200
    assert [one.answer for one in waiting] == [None, None], "both still wait"
    monkeypatch.setattr(quorum, "LONGEST", LONGEST)
    answers = [one.end() for one in waiting]  # one has committed; the other waited for its lock
    assert [status for status, _, _ in answers] == [503, 503]
    stored = sum("may have been stored" in body for _, body, _ in answers)
    assert trio.one.execute("SELECT price FROM shown") == "+" * stored


def test_a_commit_that_is_confirmed_late_is_a_good_one(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum, "LONGEST", 60.0)  # however late this machine resumes the standby
    stop_both(trio)
    writer = Asking(trio, lambda: asked("post", "post"))
    cluster = connections["default"].cluster  # type: ignore[attr-defined]  # of replication.backend
    eventually(lambda: cluster.writes.stuck, 5, "the commit to wait for a standby")
    trio.two.thaw()
    assert writer.end()[:2] == (200, "")


def test_a_commit_outside_of_a_request_waits_until_a_standby_has_it(trio: Trio) -> None:
    done = threading.Event()

    def write() -> tuple[int, str, float]:
        state.begin()
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute("UPDATE shown SET price = 'task'")
        done.set()
        return 0, "", 0.0

    stop_both(trio)
    writer = Asking(trio, write)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    eventually(lambda: trio.one.execute(waiting) == "1", 10, "the commit to wait for a standby")
    assert not done.wait(2 * LONGEST)
    trio.three.thaw()
    writer.end()
    assert done.is_set()
