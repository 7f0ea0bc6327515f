"""The shared counter, the session and the clearing of sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.utils import timezone

from stateless.models import Counter
from stateless.tasks import BATCH, clear_expired_sessions

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
