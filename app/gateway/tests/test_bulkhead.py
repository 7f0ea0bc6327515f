"""The bulkhead and the budget, under many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.budget import Budget
from gateway.bulkhead import Bulkhead, Full


def soon() -> float:
    """Return a moment in 5 s."""
    return time.monotonic() + 5


def test_never_more_than_so_many_are_inside_and_under_load_everyone_gets_in() -> None:
    bulkhead, lock = Bulkhead(3, 5.0), threading.Lock()
    inside, most = 0, 0

    def work(_number: int) -> None:
        nonlocal inside, most
        bulkhead.enter(soon())
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.001)
        with lock:
            inside -= 1
        bulkhead.leave(well=True)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(300)))
    assert most == 3


def test_whoever_finds_it_stuck_is_refused_after_the_patience_and_the_next_ones_at_once() -> None:
    bulkhead = Bulkhead(1, 0.2)
    bulkhead.enter(soon())
    started = time.monotonic()
    with pytest.raises(Full):
        bulkhead.enter(soon())
    assert 0.15 < time.monotonic() - started < 1
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(Full):
            bulkhead.enter(soon())
    assert time.monotonic() - started < 0.15, "they waited as well"


def test_after_a_failure_nobody_waits_until_a_call_goes_well() -> None:
    bulkhead = Bulkhead(1, 60)
    bulkhead.enter(soon())
    bulkhead.leave(well=False)
    bulkhead.enter(soon())
    with pytest.raises(Full):
        bulkhead.enter(soon())
    bulkhead.leave(well=True)
    bulkhead.enter(soon())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bulkhead.enter, soon())
        bulkhead.leave(well=True)
        waiting.result(5)


def test_a_failure_sends_those_away_who_wait() -> None:
    bulkhead = Bulkhead(2, 60)
    bulkhead.enter(soon())
    bulkhead.enter(soon())
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(bulkhead.enter, soon()) for _ in range(3)]
        bulkhead.leave(well=False)
        got_in = [future.exception(5) is None for future in waiting]
    assert sum(got_in) <= 1


def test_nobody_waits_beyond_the_deadline() -> None:
    bulkhead = Bulkhead(1, 60)
    bulkhead.enter(soon())
    started = time.monotonic()
    with pytest.raises(Full):
        bulkhead.enter(started + 0.1)
    assert time.monotonic() - started < 1


def test_second_tries_are_a_share_of_the_first_ones_whatever_the_number_of_threads() -> None:
    budget = Budget(share=0.125, most=10)
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: budget.spend(), range(400))) == 10
        list(pool.map(lambda _: budget.earn(), range(40)))
        assert sum(pool.map(lambda _: budget.spend(), range(400))) == 5


def test_quiet_times_save_up_no_more_than_that() -> None:
    budget = Budget(share=0.5, most=3)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
