"""Sessions during and after an outage of the cache."""

from __future__ import annotations

import pickle
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

from shop.shared_state.sessions import CACHE_SECONDS, COOKIE, SessionStore, name_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])

PAUSE = 1.5  # seconds; longer than the cache's socket time-outs


def visit(client: Client) -> int:
    return int(client.get("/session/").json()["visits"])


def cached(key: str | None) -> dict[str, Any] | None:
    """Return the cached value of the session with this id."""
    return SessionStore(key)._cached()


def put(key: str | None, data: dict[str, Any]) -> None:
    """Cache a session as web does."""
    assert SessionStore()._put(key or "", data, 60)


def pause_redis() -> float:
    """Pause Redis for PAUSE seconds; return the moment (monotonic) at which it answers again."""
    get_redis_connection("default").client_pause(int(PAUSE * 1000), all=True)
    return time.monotonic() + PAUSE


def wait_until(moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.monotonic()) + 0.1)


def test_a_session_never_returns_to_its_state_before_a_cache_outage() -> None:
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
    put(client.session.session_key, {"visits": 70})
    assert visit(client) == 71


def test_a_slow_reader_does_not_put_an_old_session_over_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    visit(client)
    reader, writer = SessionStore(client.session.session_key), SessionStore(client.session.session_key)
    assert writer["visits"] == 1
    cache.delete(reader.cache_key)
    read_row = reader._get_session_from_db

    def with_a_save_between() -> Any:
        row = read_row()
        writer["visits"] = 2
        writer.save()
        return row

    monkeypatch.setattr(reader, "_get_session_from_db", with_a_save_between)
    assert reader["visits"] == 1
    assert not reader.cache_is_behind
    assert cached(reader.session_key) == {"visits": 2}
    assert visit(client) == 3


def test_reads_use_the_database_while_the_cache_may_hold_an_old_session() -> None:
    client = Client()
    visit(client)
    key = client.session.session_key

    def is_behind() -> bool:
        reader = SessionStore(key)
        reader.cache_is_behind = True
        assert reader["visits"] == 1
        return reader.cache_is_behind

    put(key, {"visits": 0})
    assert is_behind()
    cache.delete(SessionStore(key).cache_key)
    assert not is_behind()
    assert cached(key) == {"visits": 1}


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
    Session.objects.filter(session_key=name_of(key)).update(expire_date=timezone.now() - timedelta(seconds=1))
    cache.delete(SessionStore(key).cache_key)
    assert visit(client) == 1
    assert client.session.session_key != key


def test_a_session_continues_under_a_new_id_and_the_old_id_is_invalid() -> None:
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
    key = session.session_key
    before = SessionStore(key).load()
    assert before
    session.flush()
    assert cached(key) != before
    assert SessionStore(key).load() == {}
    assert not Session.objects.exists()
    assert visit(client) == 1


def elsewhere(work: Callable[[], object]) -> Future[object]:
    """Run it in another thread."""

    def run() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    return ThreadPoolExecutor(1).submit(run)


def test_concurrent_saves_and_logouts_leave_the_same_in_cache_and_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = SessionStore()
    session["by"] = "an ended session"
    session.save()
    key, cached_for = session.session_key, SessionStore._cached_for
    works, others = list[Callable[[], object]](), list[Future[object]]()

    def save() -> None:
        other = SessionStore(key)
        other["by"] = "the other"
        other.save()

    def slowly(self: SessionStore, age: int) -> int:
        """Run another request between the write of the row and that of the cache."""
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
        row = Session.objects.filter(session_key=name_of(key or "")).first()
        assert (row and row.get_decoded().get("by")) == by
        assert SessionStore(key).load().get("by") == by


def test_a_slow_reader_does_not_cache_an_ended_session_again(monkeypatch: pytest.MonkeyPatch) -> None:
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


def redis_name(key: str | None) -> str:
    return str(cache.make_key(SessionStore(key).cache_key))


class Evil:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("/nowhere/unpickled",)


@pytest.mark.parametrize("forged", ["pickle", "json", "of another session", "of another key", "damaged", "empty"])
def test_a_session_in_the_cache_that_web_has_not_signed_for_this_browser_is_a_miss(
    forged: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = Client(), Client()
    assert [visit(client), visit(other), visit(other)] == [1, 1, 2]
    key, redis = client.session.session_key, get_redis_connection("default")
    theirs = redis.get(redis_name(other.session.session_key))
    if forged == "of another key":
        real, settings.SECRET_KEY = settings.SECRET_KEY, "theirs"
        put(key, {"visits": 40})
        settings.SECRET_KEY = real
    else:
        redis.set(
            redis_name(key),
            {
                "pickle": pickle.dumps(Evil()),
                "json": b'{"visits": 40}',
                "of another session": theirs,
                "damaged": theirs[:-1],
                "empty": b"",
            }[forged],
            ex=60,
        )
    assert visit(client) == 2
    assert ("cached session rejected" in caplog.text) == (forged != "empty")
    assert visit(client) == 3


def test_neither_cache_nor_table_has_an_id_that_works_as_a_cookie() -> None:
    client, thief = Client(), Client()
    visit(client)
    key = client.session.session_key or ""
    names = b" ".join(get_redis_connection("default").keys("*")).decode()
    stored = [one.session_key for one in Session.objects.all()]
    assert key not in names
    assert stored == [name_of(key)]
    assert stored[0] in names
    thief.cookies["sessionid"] = stored[0]
    assert visit(thief) == 1


def old_row(key: str, data: dict[str, Any]) -> None:
    """Save a session as the previous release does."""
    Session.objects.create(
        session_key=key, session_data=SessionStore().encode(data), expire_date=timezone.now() + timedelta(hours=1)
    )


def test_a_session_of_the_previous_release_continues_and_loses_its_plain_id() -> None:
    client, key = Client(), "b" * 32
    old_row(key, {"visits": 6})
    client.cookies["sessionid"] = key
    assert [visit(client), visit(client)] == [7, 8]
    assert [one.session_key for one in Session.objects.all()] == [name_of(key)]
    client.session.flush()
    assert not Session.objects.exists()


def test_replicas_of_two_releases_share_their_sessions(settings: Settings) -> None:
    settings.OLD_SESSIONS = True
    client = Client()
    assert visit(client) == 1
    key, redis = client.session.session_key or "", get_redis_connection("default")
    old_name = cache.make_key(f"django.contrib.sessions.cached_db{key}")
    assert pickle.loads(redis.get(old_name)) == {"visits": 1}  # noqa: S301 - ours; what the other release reads
    row = Session.objects.get(session_key=key)
    assert row.get_decoded() == {"visits": 1}
    # The other one saves: its own copy in the cache, and the row.
    redis.set(old_name, pickle.dumps({"visits": 2}), ex=60)
    row.session_data = SessionStore().encode({"visits": 2})
    row.save()
    assert visit(client) == 3
    assert pickle.loads(redis.get(old_name)) == {"visits": 3}  # noqa: S301 - as above
    # And once it has gone, replicas with and without the setting serve one session.
    settings.OLD_SESSIONS = False
    assert visit(client) == 4
    assert [one.session_key for one in Session.objects.all()] == [name_of(key)]
    settings.OLD_SESSIONS = True
    assert visit(client) == 5
    settings.OLD_SESSIONS = False
    assert visit(client) == 6
