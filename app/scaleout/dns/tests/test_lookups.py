"""A name without an answer costs one short wait, once."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.dns import lookups
from scaleout.dns.lookups import Names


def test_a_name_is_looked_up_as_the_system_does() -> None:
    assert Names().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM) == socket.getaddrinfo(
        "localhost", 80, type=socket.SOCK_STREAM
    )


def test_an_unanswered_name_costs_the_first_caller_the_deadline_and_later_ones_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()

    def silent(*_key: Any) -> list[Any]:
        if not answer.wait(1):
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return ["address"]

    monkeypatch.setattr(lookups, "_system_getaddrinfo", silent)
    subject = Names()

    def ask() -> None:
        with pytest.raises(socket.gaierror):
            subject.getaddrinfo("stopped", 80)

    began = time.monotonic()
    with in_time():
        ask()
    assert time.monotonic() - began >= lookups.DEADLINE
    monkeypatch.setattr(lookups, "DEADLINE", 600.0)
    with in_time():
        for _ in range(100):
            ask()

    answer.set()  # the container is back
    deadline = time.monotonic() + 5 * TIME_FACTOR
    while True:
        try:
            assert subject.getaddrinfo("stopped", 80) == ["address"]
            break
        except socket.gaierror:
            assert time.monotonic() < deadline, "the name did not recover"
            threading.Event().wait(0.05)


def test_a_name_that_is_refused_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_key: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(lookups, "_system_getaddrinfo", refuse)
    monkeypatch.setattr(lookups, "DEADLINE", 600.0)
    with in_time(), pytest.raises(socket.gaierror):
        Names().getaddrinfo("unknown", 80)


def test_many_callers_at_once_make_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = [], threading.Event()

    def slow(name: str, *_key: Any) -> list[Any]:
        if name == "many":  # and not what a look-up of another test goes on asking for
            asked.append(name)
            answer.wait(60)
        return ["address"]

    monkeypatch.setattr(lookups, "_system_getaddrinfo", slow)
    monkeypatch.setattr(lookups, "DEADLINE", 60.0)
    subject = Names()
    threads = [threading.Thread(target=subject.getaddrinfo, args=("many", 80)) for _ in range(20)]
    for thread in threads:
        thread.start()

    def callers() -> int:
        settled: Any = next(iter(subject._under_way.values())).settled
        return len(settled._cond._waiters)

    eventually(lambda: callers() == 20, what="all of them to wait", not_yet=(StopIteration,))
    answer.set()
    for thread in threads:
        thread.join(60)
    assert len(asked) == 1
