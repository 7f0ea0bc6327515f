"""A forked child makes its own singletons, whatever the parent's threads held."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scaleout.base import PerProcess

THREADS = 16
APP = Path(__file__).parents[3]
LIMIT = 60  # seconds for a child that should not wait at all


class Thing:
    """The singleton of a process."""


def forked(code: str) -> str:
    """Return what the child of a fork prints. `code` has the functions `before` and `child`.

    In a process of its own: the one that runs the tests has threads and connections.
    """
    program = f"""
import os, sys, threading
from scaleout.base import PerProcess, in_child
{code}
kept = before()
if (pid := os.fork()) == 0:
    print(child(kept), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        cwd=APP, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_threads_that_come_at_once_get_one_object() -> None:
    start = threading.Barrier(THREADS)
    thing = PerProcess(Thing)

    def ask() -> Thing:
        start.wait(LIMIT)
        return thing.own

    with ThreadPoolExecutor(THREADS) as pool:
        found = {future.result() for future in [pool.submit(ask) for _ in range(THREADS)]}
    assert found == {thing.own}


def test_nothing_is_made_before_the_first_use() -> None:
    thing = PerProcess(Thing)
    assert thing.made is None
    assert thing.own is thing.made


def test_what_could_not_be_made_is_tried_at_the_next_use() -> None:
    outcomes = iter([0, 1])
    number = PerProcess(lambda: 1 // next(outcomes))
    with pytest.raises(ZeroDivisionError):
        number.own  # noqa: B018 - to read it is to make it
    assert number.own == 1


def test_after_forget_another_one_is_made() -> None:
    thing = PerProcess(Thing)
    first = thing.own
    thing.forget()
    assert thing.made is None
    assert thing.own is not first


def test_a_child_has_an_object_of_its_own() -> None:
    code = """
thing = PerProcess(list)
def before():
    thing.own.append("of the parent")
    return thing.own
def child(inherited):
    return thing.made is None and thing.own == [] and thing.own is not inherited
"""
    assert forked(code) == "True"


def test_a_child_makes_its_own_though_a_thread_of_the_parent_was_making_one() -> None:
    code = """
begun, never = threading.Event(), threading.Event()
def make():
    if threading.current_thread() is threading.main_thread():
        return "made"
    begun.set()
    never.wait()
thing = PerProcess(make)
def before():
    threading.Thread(target=lambda: thing.own, daemon=True).start()
    begun.wait()
def child(_):
    return thing.own
"""
    assert forked(code) == "made"


def test_what_is_renewed_in_place_is_renewed_in_the_child_and_not_in_the_parent() -> None:
    code = """
numbers = [0]
@in_child
def renew():
    numbers.append(1)
def before():
    return list(numbers)
def child(inherited):
    return inherited, numbers
"""
    assert forked(code) == "([0], [0, 1])"
