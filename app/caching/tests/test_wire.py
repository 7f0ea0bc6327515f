"""The connections to Redis: one that Redis has closed is not Redis that is away."""

from __future__ import annotations

import threading

import pytest
from django_redis import get_redis_connection

from caching import process, wire


def idle() -> int:
    return sum(len(those) for those in process.current.wire._idle.values())


def several_idle(number: int) -> None:
    """Exchange something over so many connections at once."""
    threads = [
        threading.Thread(target=process.current.wire.exchange, args=[("BLPOP", "nothing", "0.5")])
        for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert idle() == number


def test_connections_that_redis_has_closed_while_they_were_idle_do_not_open_the_breaker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "LOOK", 0.0)
    redis = get_redis_connection("default")
    redis.set("there", "still")
    several_idle(3)
    assert redis.client_kill_filter(_type="normal") >= 3
    for _ in range(2):
        assert process.current.wire.exchange(("GET", "there")) == [b"still"]
    assert not process.current.wire.breaker.open
    assert idle() == 1, "the others are not tried one after the other"


def test_a_process_that_leaves_redis_out_keeps_no_connection_to_it() -> None:
    several_idle(2)
    process.current.wire.leave("the test")
    assert process.current.wire.breaker.open
    assert idle() == 0
