"""The choice of a replica."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from waiting import TIME_FACTOR

from scaleout.gateway.client import addresses
from scaleout.gateway.client.addresses import Address, Addresses


def at(*hosts: str) -> list[Address]:
    """Return these addresses."""
    return [(socket.AF_INET, (host, 80)) for host in hosts]


ONE, TWO = at("10.0.0.1", "10.0.0.2")


def test_the_resolver_names_each_replica_once() -> None:
    assert addresses.look_up("127.0.0.1", 80) == at("127.0.0.1")


def test_all_replicas_get_requests() -> None:
    pool = Addresses("x", 80, lambda _host, _port: [ONE, TWO])
    picked = [pool.pick(()) for _ in range(100)]
    assert {choice[0] for choice in picked if choice} == {ONE, TWO}
    assert pool.pick({ONE}) == (TWO, False)
    assert pool.pick({ONE, TWO}) is None


def test_a_replica_that_failed_comes_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Addresses("x", 80, lambda _host, _port: [ONE, TWO])
    pool.suspect(ONE)
    assert {pool.pick(()) for _ in range(50)} == {(TWO, True)}
    pool.suspect(TWO)
    assert pool.pick(()) is not None, "a suspect is better than none"
    monkeypatch.setattr(addresses, "SUSPECT", -1.0)
    pool.suspect(ONE)
    picked = [pool.pick(()) for _ in range(50)]
    assert {choice[0] for choice in picked if choice} == {ONE}


def test_new_replicas_are_found_and_a_resolver_that_is_away_takes_none_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FRESH", -1.0)
    answers: list[list[Address] | None] = [[ONE], [TWO], None]

    def look_up(_host: str, _port: int) -> list[Address]:
        answer = answers.pop(0) if answers else None
        if answer is None:
            raise socket.gaierror("no answer")
        return answer

    pool = Addresses("x", 80, look_up)
    assert [pool.pick(()) for _ in range(4)] == [(ONE, False), (TWO, False), (TWO, False), (TWO, False)]
    monkeypatch.setattr(addresses, "STALE", 0.0)
    assert pool.pick(()) is None


def test_one_thread_asks_and_the_others_go_on_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()
    calls: list[float] = []

    def look_up(_host: str, _port: int) -> list[Address]:
        calls.append(time.monotonic())
        if len(calls) > 1:
            asked.set()
            assert answer.wait(5 * TIME_FACTOR)
        return [ONE]

    pool = Addresses("x", 80, look_up)
    assert pool.pick(()) == (ONE, False)
    monkeypatch.setattr(addresses, "FRESH", -1.0)
    slow = threading.Thread(target=pool.pick, args=((),))
    slow.start()
    assert asked.wait(5 * TIME_FACTOR)
    assert [pool.pick(()) for _ in range(10)] == [(ONE, False)] * 10
    assert len(calls) == 2
    answer.set()
    slow.join(5 * TIME_FACTOR)


def test_after_a_pause_those_who_come_together_wait_for_the_one_who_asks() -> None:
    now, asked, answer = [0.0], threading.Event(), threading.Event()

    def look_up(_host: str, _port: int) -> list[Address]:
        if now[0]:
            asked.set()
            assert answer.wait(5 * TIME_FACTOR)
        return [ONE]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "time", SimpleNamespace(monotonic=lambda: now[0]))
        pool = Addresses("x", 80, look_up)
        assert pool.pick(()) == (ONE, False)
        now[0] = addresses.STALE + 1  # without a call in between
        picked: list[object] = []
        callers = [threading.Thread(target=lambda: picked.append(pool.pick((), 5.0 * TIME_FACTOR))) for _ in range(5)]
        for caller in callers:
            caller.start()
        assert asked.wait(5 * TIME_FACTOR)
        for caller in callers:
            caller.join(0.05)
        assert not picked, "no caller gives up while one resolves"
        answer.set()
        for caller in callers:
            caller.join(5 * TIME_FACTOR)
    assert picked == [(ONE, False)] * 5


def test_no_call_waits_beyond_its_time_for_a_first_look_up() -> None:
    asked, answer = threading.Event(), threading.Event()

    def look_up(_host: str, _port: int) -> list[Address]:
        asked.set()
        assert answer.wait(30 * TIME_FACTOR)
        return [ONE]

    pool = Addresses("x", 80, look_up)
    hung = threading.Thread(target=pool.pick, args=((),))
    hung.start()
    assert asked.wait(5 * TIME_FACTOR)
    picked: list[object] = []

    def pick(patience: float) -> None:
        picked.append(pool.pick((), patience))

    others = [threading.Thread(target=pick, args=(patience,)) for patience in (0.1, 0.0, -1.0)]
    for other in others:
        other.start()
    for other in others:
        other.join(5 * TIME_FACTOR)
    assert picked == [None] * 3
    answer.set()
    hung.join(5 * TIME_FACTOR)
    assert pool.pick(()) == (ONE, False)
