"""The rate limit, against a real Redis."""

from __future__ import annotations

import math
import socket
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import RequestFactory
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import TIME_FACTOR, eventually, in_time

from redis import Redis
from scaleout.gateway.edge import rate
from scaleout.gateway.edge.callers import by_address
from scaleout.gateway.edge.rate import Rate
from scaleout.gateway.tests.upstream import Upstream, hang

URL = settings.CACHES["default"]["LOCATION"]


def at(url: str, seconds: float = 0.05) -> Callable[[], Redis]:
    """Return how to reach a Redis, with a time-out in seconds."""
    retry = Retry(NoBackoff(), 0)
    client = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry)
    return lambda: client


# On a busy machine no request may pass uncounted.
PATIENT = at(URL, 5.0)


def someone() -> str:
    """Return a new caller."""
    return uuid.uuid4().hex


def test_callers_at_once_get_exactly_the_quota_and_each_caller_has_their_own() -> None:
    limits = [Rate(50, 3600, PATIENT) for _ in range(4)]  # as many replicas
    caller = someone()
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda number: limits[number % 4].take(caller), range(400)))
    assert sum(quota is not None and quota.allowed for quota in taken) == 50
    assert sorted(quota.left for quota in taken if quota and quota.allowed) == list(range(50))
    other = limits[0].take(someone())
    assert other is not None
    assert (other.allowed, other.left) == (True, 49)


def test_a_refused_caller_gets_the_time_to_wait_and_passes_after_it() -> None:
    window = 2 * math.ceil(TIME_FACTOR)  # in which a busy machine asks three times before half of it is over
    limit, caller = Rate(2, window, PATIENT), someone()
    assert [quota.allowed for _ in range(3) if (quota := limit.take(caller))] == [True, True, False]
    refused = limit.take(caller)
    assert refused is not None
    assert (refused.left, 1 <= refused.seconds <= window // 2) == (0, True)
    assert limit.headers(refused) == {
        "RateLimit-Policy": f'"caller";q=2;w={window}',
        "RateLimit": f'"caller";r=0;t={refused.seconds}',
    }
    eventually(lambda: (quota := limit.take(caller)) and quota.allowed)


def test_nothing_is_left_in_redis_once_it_is_paid_for() -> None:
    limit, caller = Rate(10, 5 * math.ceil(TIME_FACTOR), PATIENT), someone()
    limit.take(caller)
    client = PATIENT()
    assert client.exists(f"gateway:rate:{caller}")
    eventually(lambda: not client.exists(f"gateway:rate:{caller}"))


def test_redis_down_lets_everyone_through_at_once() -> None:
    limit = Rate(1, 60, at("unix:///nonexistent.sock?db=0"))
    with in_time():
        assert [limit.take("x") for _ in range(1000)] == [None] * 1000


def test_redis_hung_costs_one_short_wait_and_then_nothing_until_it_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limit = Rate(1, 60, at(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        with in_time():  # each with a time-out of its own would take minutes
            assert [limit.take("x") for _ in range(1000)] == [None] * 1000


def test_one_thread_asks_whether_a_hung_redis_is_back_for_all_the_others() -> None:
    silent = Upstream(hang)
    limit = Rate(1, 60, at(f"redis://127.0.0.1:{silent.port}/0"))
    assert limit.take("x") is None
    eventually(lambda: silent.connections == 1)
    limit._breaker._since = 0.0  # the pause is over; the next one is long
    limit._breaker.seconds = 600.0
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(limit.take, "x" * 64)) == [None] * 64
    eventually(lambda: silent.connections >= 2)
    assert silent.connections == 2
    silent.close()


def test_callers_are_counted_again_when_redis_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "PAUSE", 0.05)
    limit = Rate(5, 60, at(f"unix://{tmp_path}/redis.sock?db=0"))
    assert limit.take("x") is None
    (tmp_path / "redis.sock").symlink_to(urlsplit(URL).path)
    eventually(lambda: limit.take(someone()) is not None)


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("203.0.113.7", "address:203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::"),
        ("2001:db8:1:2::9", "address:2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "address:203.0.113.7"),
        ("::ffff:cb00:7107", "address:203.0.113.7"),
        ("nonsense", "address:unknown"),
    ],
)
def test_a_caller_is_an_address_and_of_ipv6_a_network(address: str, caller: str) -> None:
    assert by_address(RequestFactory().get("/", headers={"X-Real-IP": address})) == caller


def test_a_clock_of_redis_that_steps_back_refuses_no_caller() -> None:
    limit, caller = Rate(2, 60, PATIENT), someone()
    assert limit.take(caller)
    redis = PATIENT()
    seconds, microseconds = redis.time()
    before = (seconds + 600) * 1_000_000 + microseconds  # as it was written, ten minutes ahead of what Redis says now
    redis.set(f"gateway:rate:{caller}", str(before), px=700_000)
    assert [quota.allowed for _ in range(3) if (quota := limit.take(caller))] == [True, True, False]
