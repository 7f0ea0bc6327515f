"""The connections to Redis: one that Redis has closed is not Redis that is away."""

from __future__ import annotations

import threading

import pytest
from django_redis import get_redis_connection
from waiting import eventually

from scaleout.caching import process, wire
from scaleout.caching.errors import AwayError


def idle() -> int:
    return sum(len(those) for those in process.current.wire._idle.values())


def several_idle(number: int) -> None:
    """Exchange something over so many connections at once: each waits until all do."""
    redis = get_redis_connection("default")
    threads = [
        threading.Thread(target=process.current.wire.exchange, args=[("BLPOP", "all", "0")]) for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: redis.info("clients")["blocked_clients"] == number, what="each to wait")
    redis.lpush("all", *range(number))
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


def test_slow_answers_one_after_the_other_are_as_bad_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SLOW", 0.01)
    process.current.watch.stop()
    for _ in range(wire.STRIKES - 1):
        process.current.wire.exchange(("BLPOP", "nothing", "0.05"))
    monkeypatch.setattr(wire, "SLOW", 5.0)
    process.current.wire.exchange(("PING",))
    monkeypatch.setattr(wire, "SLOW", 0.01)
    for _ in range(wire.STRIKES - 1):
        process.current.wire.exchange(("BLPOP", "nothing", "0.05"))
    assert not process.current.wire.breaker.open, "a quick one was between them"
    assert process.current.wire.exchange(("BLPOP", "nothing", "0.05")) == [None], "it is an answer"
    assert process.current.wire.breaker.open


def test_a_lock_that_was_given_too_late_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    process.current.watch.start()
    assert process.current.watch.heard.wait(5)
    redis, ask = get_redis_connection("default"), process.current.wire.push

    def late(*commands: wire.Command) -> None:
        ask(*commands)
        raise TimeoutError("the answer came after the time-out")

    with monkeypatch.context() as patch:
        patch.setattr(process.current.wire, "push", late)
        with pytest.raises(AwayError):
            process.current.shared.begin("key", (), 0, "owner", 60)
        assert list(redis.scan_iter("*computing:*"))
    eventually(lambda: not list(redis.scan_iter("*computing:*")), 5, "the lock to be given back")
