"""The bulkhead and the budget, under many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from itertools import islice

import pytest
from waiting import eventually, in_time

from scaleout.gateway.client import bulkhead as bulkheads
from scaleout.gateway.client.budget import Budget
from scaleout.gateway.client.bulkhead import Bulkhead, Full


def soon() -> float:
    """Return a moment that none of these calls waits for."""
    return time.monotonic() + 60


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls wait on while all threads stand still, as they do on a busy machine."""
    monkeypatch.setattr(bulkheads, "STILL", 60.0)


@pytest.mark.usefixtures("busy")
def test_never_more_than_so_many_are_inside_and_under_load_everyone_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkheads, "SHORT", 60.0)
    bulkhead, lock = Bulkhead(3, 1, 60.0), threading.Lock()
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


@pytest.mark.usefixtures("busy")
def test_where_calls_take_long_one_waits_and_the_others_are_sent_away_at_once() -> None:
    bulkhead = Bulkhead(2, 1, 60)
    bulkhead.enter(soon())
    threading.Event().wait(0.02)
    bulkhead.leave(well=True)
    assert bulkhead._seconds >= 0.2 * 0.02, "it learns how long a call takes"
    bulkhead._seconds = 0.02
    bulkhead.enter(soon())
    bulkhead.enter(soon())

    def work() -> None:
        bulkhead.enter(soon())
        bulkhead.leave(well=True)

    with ThreadPoolExecutor(8) as pool:  # 20 ms: the turn of each of these comes soon
        waiting = [pool.submit(work) for _ in range(5)]
        assert not [one for one in waiting if one.done()]
        bulkhead.leave(well=True)
        assert [one.result() for one in waiting] == [None] * 5
        bulkhead.leave(well=True)

    def slow(calls: int) -> None:
        for _ in range(calls):
            bulkhead.enter(soon())
        threading.Event().wait(0.7)
        for _ in range(calls):
            bulkhead.leave(well=True)

    def waits(those: int) -> list[bool]:
        """Return of three who come while all places are taken whether they still wait, when all but
        `those` have gone.
        """
        bulkhead.enter(soon())
        bulkhead.enter(soon())
        with ThreadPoolExecutor(3) as pool:
            three = [pool.submit(work) for _ in range(3)]
            eventually(lambda: bulkhead._waiting + sum(one.done() for one in three) == 3)
            eventually(lambda: sum(not one.done() for one in three) == those)
            waiting = [not one.done() for one in three]
            bulkhead.leave(well=True)
            bulkhead.leave(well=True)
            wait(three)
        return sorted(waiting)

    bulkhead._seconds = 0.02
    slow(1)
    assert waits(3) == [True] * 3, "one call that hung says little of the next"
    for _ in range(3):
        slow(2)
    assert waits(1) == [False, False, True]


def test_the_first_call_to_a_stuck_service_is_refused_after_the_patience_and_later_ones_at_once() -> None:
    bulkhead = Bulkhead(1, 1, 0.5)
    bulkhead.enter(soon())
    started, far = time.monotonic(), time.monotonic() + 600
    with in_time(), pytest.raises(Full):
        bulkhead.enter(far)
    assert time.monotonic() - started > 0.45
    with in_time(20):  # were they to wait as well, it would be 50
        for _ in range(100):
            with pytest.raises(Full):
                bulkhead.enter(far)


def test_of_those_who_wait_for_a_service_that_has_just_frozen_one_waits_on_and_the_others_go() -> None:
    bulkhead = Bulkhead(1, 1, 60)
    bulkhead.enter(soon())
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(bulkhead.enter, soon()) for _ in range(3)]
        gone = set(islice(as_completed(waiting, 3), 2))
        assert [type(one.exception()) for one in gone] == [Full] * 2
        (patient,) = set(waiting) - gone
        assert not patient.done()
        bulkhead.leave(well=True)
        patient.result()


def test_after_two_failures_no_call_waits_until_one_goes_well() -> None:
    bulkhead = Bulkhead(1, 1, 60)
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            bulkhead.enter(soon())
            waiting = pool.submit(bulkhead.enter, soon())
            with pytest.raises(TimeoutError):
                waiting.result(0.05)
            bulkhead.leave(well=False)
            assert waiting.exception() is None, "after one he waits"
        bulkhead.leave(well=True)
    for _ in range(2):
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
        waiting.result()


def test_two_failures_send_those_away_who_wait() -> None:
    bulkhead = Bulkhead(2, 1, 60)
    bulkhead.enter(soon())
    bulkhead.enter(soon())
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(bulkhead.enter, soon()) for _ in range(4)]
        bulkhead.leave(well=False)
        bulkhead.leave(well=False)
        got_in = [future.exception() is None for future in waiting]
    assert sum(got_in) <= 2


def test_no_call_waits_beyond_the_deadline() -> None:
    bulkhead = Bulkhead(1, 1, 60)
    bulkhead.enter(soon())
    with in_time(), pytest.raises(Full):
        bulkhead.enter(time.monotonic() + 0.1)


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
