"""Measure what the harness asks for: a line of JSON in, a line of JSON out.

    {"run": "direct", "seconds": 0.5, "processes": 2, "threads": 4}    one measurement
    {"call": "breaks"}                                                 a fact that is not measured

Load is closed-loop: each thread does an operation again as soon as it is done. Processes and
threads stay, so that what they keep (connections above all) is kept from measurement to
measurement, as in a server.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

# Does one thing, or several at once, and returns how many. A failure is an exception.
type Operation = Callable[[], int]
type Call = Callable[[], Any]

MEETING = 20.0  # seconds for all threads of a process to be there


class Worker:
    """One process with its threads."""

    def __init__(self, operations: Mapping[str, Operation], calls: Mapping[str, Call], threads: int) -> None:
        fork = multiprocessing.get_context("fork")
        self._operations, self._calls, self._threads = operations, calls, threads
        self.pipe, other = fork.Pipe()
        fork.Process(target=self._serve, args=[other], daemon=True).start()
        other.close()

    def _serve(self, pipe: Connection[Any, Any]) -> None:
        self.pipe.close()
        with ThreadPoolExecutor(self._threads) as pool:
            while True:
                question = pipe.recv()
                try:
                    pipe.send(self._answer(pool, question))
                except Exception:
                    pipe.send({"error": traceback.format_exc()})

    def _answer(self, pool: ThreadPoolExecutor, question: Mapping[str, Any]) -> Any:
        if "call" in question:
            return {"value": self._calls[question["call"]]()}
        # All meet first: so each thread takes one of the tasks, and none begins before the others.
        number = question.get("threads", 1)
        meeting = threading.Barrier(number)
        operation = self._operations[question["run"]]
        tasks = [pool.submit(repeat, operation, question["seconds"], meeting) for _ in range(number)]
        return {"threads": [task.result() for task in tasks]}


def repeat(operation: Operation, seconds: float, meeting: threading.Barrier) -> tuple[int, float, list[int]]:
    """Do the operation again and again; return how many things were done, the seconds, and each
    one's nanoseconds.
    """
    clock, taken, done = time.perf_counter_ns, [], 0
    meeting.wait(MEETING)
    begun = now = clock()
    end = begun + int(seconds * 1e9)
    while now < end:
        done += operation()
        after = clock()
        taken.append(after - now)
        now = after
    return done, (now - begun) / 1e9, taken


def summary(threads: list[tuple[int, float, list[int]]]) -> dict[str, float]:
    """Return the number done, the rate a second, and the median and 99th percentile of an operation
    in microseconds.
    """
    taken = sorted(one for _, _, all_taken in threads for one in all_taken)
    return {
        "count": sum(done for done, _, _ in threads),
        "rate": sum(done / seconds for done, seconds, _ in threads),
        "p50": taken[len(taken) // 2] / 1000,
        "p99": taken[len(taken) * 99 // 100] / 1000,
    }


def _ask(workers: list[Worker], question: Mapping[str, Any]) -> dict[str, Any]:
    chosen = workers[: question.get("processes", 1)]
    for worker in chosen:
        worker.pipe.send(question)
    answers = [worker.pipe.recv() for worker in chosen]
    for answer in answers:
        if "error" in answer:
            return {"error": answer["error"]}
    if "call" in question:
        return {"value": answers[0]["value"]}
    return summary([thread for answer in answers for thread in answer["threads"]])


def serve(
    operations: Mapping[str, Operation],
    prepare: Callable[[], None],
    *,
    calls: Mapping[str, Call] | None = None,
    processes: int = 1,
    threads: int = 1,
) -> None:
    """Run `prepare` in a process of its own, so that nothing of it is inherited; then answer until
    the input ends.
    """
    first = multiprocessing.get_context("fork").Process(target=prepare)
    first.start()
    first.join()
    if first.exitcode:
        raise SystemExit(first.exitcode)
    workers = [Worker(operations, calls or {}, threads) for _ in range(processes)]
    print(json.dumps({"ready": sorted(operations)}), flush=True)
    for line in sys.stdin:
        try:
            answer = _ask(workers, json.loads(line))
        except EOFError:  # a worker is dead
            answer = {"error": "a process of the load has ended"}
        print(json.dumps(answer), flush=True)
