"""Sessions while the cache is away and after it has come back."""

from __future__ import annotations

import threading
import time

import pytest
from django.core.cache import cache
from django.test import Client
from django_redis import get_redis_connection

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


def test_the_cache_keeps_a_session_for_minutes_only() -> None:
    client = Client()
    visit(client)
    session = SessionStore(client.session.session_key)
    assert 0 < get_redis_connection("default").ttl(cache.make_key(session.cache_key)) <= CACHE_SECONDS
