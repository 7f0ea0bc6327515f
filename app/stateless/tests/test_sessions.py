"""Sessions while the cache is away and after it has come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.utils import timezone
from django_redis import get_redis_connection
from pytest_django import Settings

from stateless.sessions import CACHE_SECONDS, COOKIE, SessionStore

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])

PAUSE = 1.5  # seconds; longer than the cache's socket time-outs


def visit(client: Client) -> int:
    return int(client.get("/session/").json()["visits"])


def pause_redis() -> float:
    """Let Redis answer nobody for PAUSE seconds and return the moment (monotonic) at which it answers again."""
    get_redis_connection("default").client_pause(int(PAUSE * 1000), all=True)
    return time.monotonic() + PAUSE


def wait_until(moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.monotonic()) + 0.1)


def test_a_session_does_not_go_back_to_what_the_cache_held_before_it_was_away() -> None:
    client = Client()
    assert visit(client) == 1
    back = pause_redis()
    assert [visit(client), visit(client)] == [2, 3]
    assert client.cookies[COOKIE].value == "database"
    wait_until(back)
    assert [visit(client), visit(client)] == [4, 5]


def test_once_the_cache_is_written_again_the_session_is_read_from_it() -> None:
    client = Client()
    back = pause_redis()
    visit(client)
    wait_until(back)
    visit(client)
    assert client.cookies[COOKIE].value == ""
    session = SessionStore(client.session.session_key)
    cache.set(session.cache_key, {"visits": 70}, 60)
    assert visit(client) == 71


def test_a_slow_reader_does_not_put_an_old_session_over_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    visit(client)
    reader, writer = SessionStore(client.session.session_key), SessionStore(client.session.session_key)
    assert writer["visits"] == 1
    cache.delete(reader.cache_key)
    read_row = reader._get_session_from_db  # type: ignore[attr-defined]  # not in the stubs

    def saved_meanwhile() -> Any:
        row = read_row()
        writer["visits"] = 2
        writer.save()
        return row

    monkeypatch.setattr(reader, "_get_session_from_db", saved_meanwhile)
    assert reader["visits"] == 1
    assert not reader.cache_is_behind
    assert cache.get(reader.cache_key) == {"visits": 2}
    assert visit(client) == 3


def test_who_only_reads_is_sent_to_the_database_for_as_long_as_the_cache_may_hold_an_old_session() -> None:
    client = Client()
    visit(client)
    key = client.session.session_key

    def is_behind() -> bool:
        reader = SessionStore(key)
        reader.cache_is_behind = True
        assert reader["visits"] == 1
        return reader.cache_is_behind

    cache.set(SessionStore(key).cache_key, {"visits": 0}, 60)
    assert is_behind()
    cache.delete(SessionStore(key).cache_key)
    assert not is_behind()
    assert cache.get(SessionStore(key).cache_key) == {"visits": 1}


def test_the_cache_keeps_a_session_for_minutes_only() -> None:
    client = Client()
    visit(client)
    session = SessionStore(client.session.session_key)
    assert 0 < get_redis_connection("default").ttl(cache.make_key(session.cache_key)) <= CACHE_SECONDS


def test_an_unknown_session_id_is_never_adopted() -> None:
    client, planted = Client(), "a" * 32
    client.cookies["sessionid"] = planted
    assert visit(client) == 1
    assert client.cookies["sessionid"].value != planted
    assert not SessionStore().exists(planted)
    assert client.session.session_key != planted
    assert visit(client) == 2


def test_an_expired_session_id_is_not_adopted_again() -> None:
    client = Client()
    visit(client)
    key = client.session.session_key
    assert key is not None
    Session.objects.filter(session_key=key).update(expire_date=timezone.now() - timedelta(seconds=1))
    cache.delete(SessionStore(key).cache_key)
    assert visit(client) == 1
    assert client.session.session_key != key


def test_a_session_goes_on_under_a_new_id_and_the_old_one_is_worth_nothing() -> None:
    client, thief = Client(), Client()
    visit(client)
    session = client.session
    old = thief.cookies["sessionid"] = session.session_key or ""
    session.cycle_key()  # what a login does
    client.cookies["sessionid"] = session.session_key or ""
    assert visit(client) == 2
    assert visit(thief) == 1
    assert session.session_key != old


def test_an_ended_session_is_gone_from_cache_and_database() -> None:
    client = Client()
    visit(client)
    session = client.session
    key, name = session.session_key, SessionStore(session.session_key).cache_key
    before = SessionStore(key)
    assert before.load()
    session.flush()
    assert cache.get(name) != before.load()
    assert SessionStore(key).load() == {}
    assert not Session.objects.filter(session_key=key).exists()
    assert visit(client) == 1


def elsewhere(work: Callable[[], object]) -> Future[object]:
    """Do it in another thread."""

    def run() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    return ThreadPoolExecutor(1).submit(run)


def test_two_who_save_at_once_or_one_who_ends_it_leave_the_same_in_cache_and_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = SessionStore()
    session["by"] = "nobody"
    session.save()
    key, cached_for = session.session_key, SessionStore._cached_for
    works, others = list[Callable[[], object]](), list[Future[object]]()

    def save() -> None:
        other = SessionStore(key)
        other["by"] = "the other"
        other.save()

    def slowly(self: SessionStore, age: int) -> int:
        """Let another one do his work between our row and our cache."""
        if works and self["by"] == "us":
            others.append(elsewhere(works.pop()))
            with suppress(TimeoutError):
                others[-1].result(0.3)
        return cached_for(self, age)

    monkeypatch.setattr(SessionStore, "_cached_for", slowly)
    for work, by in ((save, "the other"), (SessionStore(key).delete, None)):
        works.append(work)
        ours = SessionStore(key)
        ours["by"] = "us"
        ours.save()
        others[-1].result(5)
        row = Session.objects.filter(session_key=key).first()
        assert (row and row.get_decoded().get("by")) == by
        assert SessionStore(key).load().get("by") == by


def test_who_has_read_a_session_that_is_ended_meanwhile_does_not_bring_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SessionStore()
    session["by"] = "us"
    session.save()
    key, offer = session.session_key, SessionStore._offer

    def late(self: SessionStore, data: dict[str, Any], age: int) -> None:
        SessionStore(key).delete()
        offer(self, data, age)

    cache.delete(session.cache_key)
    monkeypatch.setattr(SessionStore, "_offer", late)
    assert SessionStore(key).load() == {"by": "us"}
    assert SessionStore(key).load() == {}


@pytest.mark.parametrize("secure", [True, False])
def test_the_cookies_are_for_this_site_only_and_out_of_reach_of_scripts(settings: Settings, secure: bool) -> None:
    settings.SESSION_COOKIE_SECURE = secure
    nowhere = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = settings.CACHES | {"default": nowhere}  # so that the second cookie is set too
    client = Client()
    visit(client)
    for name in ("sessionid", COOKIE):
        cookie = client.cookies[name]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        assert bool(cookie["secure"]) is secure
        assert cookie["domain"] == ""
        assert int(cookie["max-age"]) == settings.SESSION_COOKIE_AGE == 14 * 86_400
