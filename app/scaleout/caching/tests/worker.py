"""One of several processes that share a cache: commands come in by a pipe, and answers go out.

What the cached function reads stands in a file, and each computation adds a line to another: so
they are there whatever becomes of Redis. Its folder is in FOLDER, Redis's socket in TEST_REDIS, and
in PATIENCE how many times longer than in production it waits for Redis.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from django.conf import settings

from scaleout.caching import invalidate, ledger, multi_level_cache, process, shared, watch, wire

FOLDER = Path(os.environ.get("FOLDER", "."))


def truth() -> str:
    """Return what the function shall find."""
    return (FOLDER / "truth").read_text()


def compute(seconds: float) -> str:
    """Read, then take so long: what was read may be old by then."""
    found = truth()
    with (FOLDER / "computed").open("a") as file:  # who sees the line knows that it has read
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)  # the work: nothing is waited for
    if found == "broken":
        raise LookupError(found)
    return found


def at_once(number: int, what: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what so many threads get that begin together."""
    found: list[dict[str, Any]] = []
    start = threading.Barrier(number)

    def one(which: int) -> None:
        start.wait()
        found.append(what(which))

    threads = [threading.Thread(target=one, args=[which]) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def set_seconds() -> None:
    """Let some things not take as long as in production, and some longer."""
    shared.FOREWARNED, ledger.CAP = 1, float(os.environ.get("CAP") or ledger.CAP)
    patience = float(os.environ.get("PATIENCE") or 1)
    wire.TIMEOUT, wire.SLOW, watch.ANSWER = wire.TIMEOUT * patience, wire.SLOW * patience, watch.ANSWER * patience


def main(orders: Connection[Any, Any]) -> None:
    """Follow orders until killed."""
    settings.CACHING = settings.CACHING | {"RELEASE": os.environ.get("RELEASE", "")}
    set_seconds()
    slow = float(os.environ.get("SECONDS_TO_COMPUTE", "0"))

    @multi_level_cache(timeout=float(os.environ.get("TIMEOUT", "60")), key="value", tags=("thing",))
    def value() -> str:
        return compute(slow)

    def call() -> dict[str, Any]:
        began = time.monotonic()
        try:
            got, error = value(), ""
        except LookupError as problem:
            got, error = "", str(problem)
        return {"value": got, "error": error, "seconds": time.monotonic() - began}

    def many(number: int) -> list[dict[str, Any]]:
        return at_once(number, lambda _: call())

    def change(text: str) -> None:
        (FOLDER / "truth").write_text(text)
        invalidate("thing")

    def forewarn() -> None:
        process.current.shared.forewarn({"thing"})  # as invalidate() does inside a transaction

    def change_and_die(text: str) -> None:
        (FOLDER / "truth").write_text(text)
        os.kill(os.getpid(), 9)

    def listening() -> bool:
        process.current.watch.start()
        return process.current.watch.heard.wait(5)

    def breaker() -> bool:
        return process.current.wire.breaker.open

    def fork() -> str:
        value()
        read, write = os.pipe()
        if os.fork() == 0:
            state = f"{value()} {listening()} {process.current.store.get('value') is not None}"
            os.write(write, state.encode())
            os._exit(0)
        os.wait()
        return os.read(read, 100).decode()

    def peek() -> str | None:
        there = value.peek()
        return there.level if there else None

    known = [call, many, change, forewarn, change_and_die, listening, breaker, fork, peek]
    commands = {function.__name__: function for function in known}
    while True:
        name, *arguments = orders.recv()
        orders.send(commands[name](*arguments))  # type: ignore[operator]
