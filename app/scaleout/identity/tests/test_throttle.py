"""Attempts are counted exactly, for a time, and without Redis no user is locked out."""

from __future__ import annotations

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache, caches
from django_redis import get_redis_connection
from pytest_django import Settings
from waiting import TIME_FACTOR, in_time

from scaleout.identity.throttle import Limit, attempt, forget, give_back

FEW = Limit("few", most=3, seconds=60)
MANY = Limit("many", most=10, seconds=60)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    cache.clear()


def test_what_is_too_much_is_refused_and_says_for_how_long() -> None:
    assert [attempt((FEW, "ada")) for _ in range(3)] == [0, 0, 0]
    assert 0 < attempt((FEW, "ada")) <= 60
    assert attempt((FEW, "eve")) == 0


def test_of_a_hundred_attempts_at_once_as_many_pass_as_may() -> None:
    with ThreadPoolExecutor(20) as pool:
        waits = list(pool.map(lambda _: attempt((MANY, "ada")), range(100)))
    assert waits.count(0) == 10


def test_each_subject_of_an_attempt_has_its_own_limit() -> None:
    for number in range(10):
        assert attempt((FEW, str(number)), (MANY, "client")) == 0
    assert attempt((FEW, "another"), (MANY, "client")) > 0
    assert attempt((FEW, "another"), (MANY, "other client")) == 0


def test_an_attempt_that_is_refused_counts_for_none_of_the_subjects_after_the_one_that_refuses() -> None:
    for _ in range(20):
        attempt((FEW, "client"), (MANY, "ada"))
    assert [attempt((MANY, "ada")) for _ in range(7)] == [0] * 7
    assert attempt((MANY, "ada")) > 0


def test_a_window_ends_by_itself_after_any_number_of_attempts() -> None:
    brief = Limit("brief", most=1, seconds=1)
    assert attempt((brief, "ada")) == 0
    until = time.monotonic() + 5 * TIME_FACTOR
    while (wait := attempt((brief, "ada"))) and time.monotonic() < until:
        assert wait == 1
    assert wait == 0


def test_no_attempt_prolongs_the_window_that_the_first_one_began() -> None:
    key, redis = FEW.key("ada"), get_redis_connection("default")
    assert attempt((FEW, "ada")) == 0
    for passes in (True, True, False):
        redis.expire(key, 7)
        wait = attempt((FEW, "ada"))
        assert (wait == 0) is passes
        assert wait <= 7
        assert 0 < redis.ttl(key) <= 7


def test_what_is_forgotten_counts_afresh() -> None:
    for _ in range(4):
        attempt((FEW, "ada"))
    forget([(FEW, "ada")])
    assert attempt((FEW, "ada")) == 0


def test_what_is_given_back_is_one_attempt_and_never_more_than_was_counted() -> None:
    for _ in range(2):
        attempt((FEW, "ada"))
    give_back(FEW, "ada")
    assert [attempt((FEW, "ada")) > 0 for _ in range(3)] == [False, False, True]
    for _ in range(7):
        give_back(FEW, "ada")
    assert get_redis_connection("default").keys("throttle:*") == []
    assert [attempt((FEW, "ada")) > 0 for _ in range(4)] == [False, False, False, True]


def test_what_is_given_back_leaves_the_window_as_it_is() -> None:
    key, redis = FEW.key("ada"), get_redis_connection("default")
    for _ in range(2):
        attempt((FEW, "ada"))
    redis.expire(key, 7)
    give_back(FEW, "ada")
    assert 0 < redis.ttl(key) <= 7


def test_right_attempts_at_once_leave_nothing_counted_though_some_of_them_were_refused() -> None:
    def right(_number: int) -> None:
        if not attempt((MANY, "client")):
            give_back(MANY, "client")

    for _ in range(30):
        attempt((MANY, "client"))
    for _ in range(MANY.most):
        give_back(MANY, "client")
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(right, range(100)))
    assert get_redis_connection("default").keys("throttle:*") == []


def test_redis_does_not_learn_the_address() -> None:
    attempt((FEW, "ada@example.org"), (FEW, "\ud800"))
    stored = get_redis_connection("default").keys("throttle:*")
    assert len(stored) == 2
    assert not [key for key in stored if b"ada" in key]


@pytest.mark.parametrize("hangs", [False, True])
def test_without_redis_no_attempt_is_refused_or_waits(
    settings: Settings, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not hangs:
            silent.close()
        away = {**settings.CACHES["default"], "LOCATION": f"redis://127.0.0.1:{port}/0"}
        settings.CACHES = {"default": away}
        with in_time(20), caplog.at_level(logging.WARNING):
            assert [attempt((FEW, "ada")) for _ in range(4)] == [0] * 4
            forget([(FEW, "ada")])
            give_back(FEW, "ada")
        caches["default"].close()
    assert "attempt limit disabled" in caplog.text
