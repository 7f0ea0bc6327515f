"""The breaker: one failure opens it, one caller tries, one success closes it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scaleout.base import Breaker

THREADS = 16


def at_once[T](call: Callable[[], T]) -> list[T]:
    """Return what THREADS threads get that call at the same moment."""
    start = threading.Barrier(THREADS)

    def one() -> T:
        start.wait(60)
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(THREADS)]]


def test_a_closed_one_allows_every_caller() -> None:
    breaker = Breaker(60)
    assert at_once(breaker.allows) == [True] * THREADS
    assert not breaker.open


def test_one_failure_opens_it_for_every_caller() -> None:
    breaker = Breaker(60)
    assert breaker.failed()
    assert breaker.open
    assert at_once(breaker.allows) == [False] * THREADS


def test_when_the_pause_is_over_one_caller_tries_and_the_others_are_refused() -> None:
    breaker = Breaker(60)
    breaker.failed()
    breaker.seconds = 0.0
    assert breaker.allows()
    breaker.seconds = 60
    assert not breaker.allows()
    assert breaker.open, "a try is no success"


def test_of_many_threads_one_tries() -> None:
    breaker = Breaker(60)
    breaker.failed()
    breaker._since = float("-inf")
    assert sum(at_once(breaker.allows)) == 1


def test_a_success_closes_it() -> None:
    breaker = Breaker(60)
    breaker.failed()
    assert breaker.worked()
    assert not breaker.open
    assert breaker.allows()


def test_only_the_outcome_that_changes_it_says_so() -> None:
    breaker = Breaker(60)
    assert not breaker.worked()
    assert sum(at_once(breaker.failed)) == 1
    assert sum(at_once(breaker.worked)) == 1


def test_a_child_of_a_process_whose_thread_holds_the_lock_goes_on() -> None:
    breaker = Breaker(60)
    with breaker._lock:  # as another thread may at the moment of the fork
        child = os.fork()
        if not child:
            signal.alarm(10)
            os._exit(0 if breaker.failed() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
