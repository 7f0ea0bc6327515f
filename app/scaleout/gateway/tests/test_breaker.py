"""The breaker: one truth for many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import TIME_FACTOR

from scaleout.gateway.client.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, Open


def opened(rest: float) -> tuple[Breaker, list[int]]:
    """Return a breaker that has just opened, and the states that it tells."""
    states: list[int] = []
    breaker = Breaker(3, rest, states.append)
    for _ in range(3):
        breaker.leave(breaker.enter(), False)
    assert states[-1] == OPEN
    return breaker, states


def may_enter(breaker: Breaker) -> int | None:
    """Return a ticket, or None while it is open."""
    try:
        return breaker.enter()
    except Open:
        return None


def test_failures_in_a_row_open_it_and_one_success_between_them_does_not() -> None:
    breaker, began = Breaker(3, 60), time.monotonic()
    for well in (False, False, True, False, False, None, True):
        breaker.leave(breaker.enter(), well)
    for _ in range(3):
        breaker.leave(breaker.enter(), False)
    with pytest.raises(Open) as state:
        breaker.enter()
    assert 60 - (time.monotonic() - began) <= state.value.seconds <= 60


def test_after_a_rest_exactly_one_of_many_threads_tries() -> None:
    breaker, states = opened(60)
    barrier = threading.Barrier(32)

    def race(_number: int) -> bool:
        barrier.wait(5 * TIME_FACTOR)
        return may_enter(breaker) is not None

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(race, range(32))) == 0
        breaker._until = 0.0  # the rest is over
        breaker.leave(breaker.enter(), None)  # the try said nothing: the next one may try at once
        assert sum(pool.map(race, range(32))) == 1
    assert states[-1] == HALF_OPEN


def test_the_try_that_succeeds_closes_it() -> None:
    breaker, states = opened(0.0)
    breaker.leave(breaker.enter(), True)
    assert states[-1] == CLOSED
    assert [breaker.enter() == breaker.enter() for _ in range(10)] == [True] * 10


def test_the_try_that_fails_opens_it_for_another_rest() -> None:
    breaker, states = opened(0.0)
    ticket = breaker.enter()
    breaker._rest = 60
    breaker.leave(ticket, False)
    assert states[-1] == OPEN
    assert may_enter(breaker) is None


def test_calls_that_began_before_it_opened_neither_close_it_nor_open_it_again() -> None:
    breaker = Breaker(1, 0.0)
    late_success, late_failure = breaker.enter(), breaker.enter()
    breaker.leave(breaker.enter(), False)
    attempt = breaker.enter()
    breaker.leave(late_success, True)
    assert may_enter(breaker) is None, "the late success closed it"
    breaker.leave(attempt, True)
    breaker.leave(late_failure, False)
    assert may_enter(breaker) is not None, "the late failure opened it"


def test_failures_of_many_threads_open_it_once() -> None:
    states: list[int] = []
    breaker = Breaker(4, 60, states.append)
    tickets = [breaker.enter() for _ in range(64)]
    states.clear()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda ticket: breaker.leave(ticket, False), tickets))
    assert states == [OPEN]
