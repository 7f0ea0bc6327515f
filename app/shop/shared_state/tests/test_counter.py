"""The shared counter, the session and the clearing of sessions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from celery import current_app as celery
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from shop.shared_state import tasks
from shop.shared_state.models import Counter
from shop.shared_state.tasks import BATCH, clear_expired_sessions

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])


def test_additions_at_once_are_all_counted() -> None:
    def add(_number: int) -> int:
        try:
            return Counter.add("race")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(add, range(200)))
    assert sorted(seen) == list(range(1, 201))


def test_the_counter_starts_at_nothing_and_counts_posts_only() -> None:
    client = Client()
    assert client.get("/counter/").json() == {"count": 0}
    assert client.post("/counter/").json() == {"count": 1}
    assert client.get("/counter/").json() == {"count": 1}


def test_another_method_is_refused_with_a_problem() -> None:
    answer = Client().delete("/counter/")
    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Allow"] == "GET, HEAD, POST"


def test_a_session_counts_its_own_visits() -> None:
    first, second = Client(), Client()
    assert [first.get("/session/").json()["visits"] for _ in range(3)] == [1, 2, 3]
    assert second.get("/session/").json() == {"visits": 1}


def test_a_session_survives_the_loss_of_the_cache() -> None:
    client = Client()
    client.get("/session/")
    cache.clear()
    assert client.get("/session/").json() == {"visits": 2}


def test_only_expired_sessions_are_cleared() -> None:
    now = timezone.now()
    Session.objects.bulk_create(
        Session(session_key=f"old{number}", session_data="", expire_date=now - timedelta(seconds=1))
        for number in range(BATCH + 1)
    )
    Session.objects.create(session_key="new", session_data="", expire_date=now + timedelta(hours=1))
    assert clear_expired_sessions() == BATCH + 1
    assert [session.session_key for session in Session.objects.all()] == ["new"]


def expired(number: int) -> None:
    """Create this number of expired sessions."""
    gone = timezone.now() - timedelta(seconds=1)
    Session.objects.bulk_create(
        Session(session_key=f"old{one}", session_data="", expire_date=gone) for one in range(number)
    )


def test_concurrent_runs_share_the_work() -> None:
    expired(5 * BATCH)
    start = threading.Barrier(2)

    def clear(_number: int) -> int:
        start.wait()
        return in_a_thread()

    with ThreadPoolExecutor(2) as pool:
        cleared = list(pool.map(clear, range(2)))
    assert sum(cleared) + clear_expired_sessions() == 5 * BATCH
    assert not Session.objects.exists()


def test_a_session_that_is_used_again_at_this_moment_is_not_cleared() -> None:
    expired(2)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Session.objects.filter(session_key="old1").update(expire_date=timezone.now() + timedelta(hours=1))
        assert pool.submit(in_a_thread).result(20) == 1
    assert clear_expired_sessions() == 0
    assert [session.session_key for session in Session.objects.all()] == ["old1"]


def in_a_thread() -> int:
    try:
        return clear_expired_sessions()
    finally:
        connections.close_all()


def test_a_run_ends_in_time_and_leaves_the_rest_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    expired(2 * BATCH)
    monkeypatch.setattr(tasks, "SECONDS", 0.0)
    assert clear_expired_sessions() == 0
    monkeypatch.undo()
    assert clear_expired_sessions() == 2 * BATCH


def test_beat_clears_them_every_minute() -> None:
    entry = celery.conf.beat_schedule["clear-expired-sessions"]
    assert (entry["task"], entry["schedule"]) == (clear_expired_sessions.name, 60.0)
