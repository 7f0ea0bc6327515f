"""The program of the bench `cache`: times one operation for each line of JSON that it is sent."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from inspect import unwrap
from typing import Any

import django
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django_redis import get_redis_connection

VALUE = "x" * 1300  # characters: a small fragment of a page
KEYS = 20
WARM_UP = 0.05  # seconds
PATIENCE = 5  # seconds for one answer: the bench fails rather than hang


class Raw:
    """One question to Redis over a bare socket, as good as Python can do it: one send, and no more
    receives than it takes. Its answer is always as long.
    """

    def __init__(self, *words: str) -> None:
        self._connection = get_redis_connection("default").connection_pool.get_connection()  # logged in
        self._socket: socket.socket = self._connection._sock
        # The kernel's time-out, after which `recv` raises BlockingIOError: Python's own costs a
        # system call each time.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE, 0))
        self._question = self._command(*words)
        answer = self._first(self._question)
        if answer[:1] not in b"$*" or b"$-1" in answer:
            raise LookupError(f"Redis answers {answer[:80]!r} to {words}")
        self._length = len(answer)

    @staticmethod
    def _command(*words: str) -> bytes:
        parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        return f"*{len(words)}\r\n{parts}".encode()

    def _receive(self) -> bytes:
        answer = self._socket.recv(65536)
        if not answer:
            raise ConnectionError("Redis has closed the connection")
        return answer

    def _first(self, question: bytes) -> bytes:
        """Return an answer of unknown length, which is over when nothing follows for a while."""
        self._socket.sendall(question)
        answer = self._receive()
        while select.select([self._socket], [], [], 0.2)[0]:
            answer += self._receive()
        return answer

    def ask(self) -> bytes:
        """Return the answer."""
        self._socket.sendall(self._question)
        answer = self._receive()
        while len(answer) < self._length:
            answer += self._receive()
        return answer


def operations() -> dict[str, Callable[[], object]]:
    """Return what can be timed, with everything in its place."""
    from scaleout import caching  # noqa: PLC0415 - Django comes first
    from scaleout.caching import process  # noqa: PLC0415 - likewise
    from shop.storefront import pages  # noqa: PLC0415 - likewise

    bare, memory, local, redis = {"key": VALUE}, LocMemCache("bench", {}), caches["local"], caches["default"]
    memory.set("key", VALUE)
    local.set("key", VALUE, None)
    many = [f"bench {number}" for number in range(KEYS)]
    redis.set_many(dict.fromkeys(many, VALUE), 600)

    @caching.multi_level_cache(timeout=600, key="bench")
    def value() -> str:
        return VALUE

    value()
    process.current.watch.heard.wait(5)
    held = process.current.store.get("bench")
    assert held
    tags = held.tags
    raw = Raw("GET", process.current.shared.value_name("bench"))
    raw_many = Raw("MGET", *(redis.make_key(key) for key in many))
    page = pages.front
    page()

    def from_redis() -> object:
        local.clear()
        return page()

    return {
        "dict": lambda: bare.get("key"),
        "LocMemCache": lambda: memory.get("key"),
        "local": lambda: local.get("key"),
        "decorator": value,
        "raw GET": raw.ask,
        "raw MGET": raw_many.ask,
        "L2": lambda: process.current.shared.look("bench", tags, 30.0),
        "1 key": lambda: redis.get(many[0]),
        "20 keys": lambda: redis.get_many(many),
        "front, L1": page,
        "front, L2": from_redis,
        "front, database": unwrap(page),
    }


def timed(operation: Callable[[], object], seconds: float) -> float:
    """Return the median over rounds of about a millisecond of the microseconds that `operation`
    takes.
    """
    until, number = time.perf_counter() + WARM_UP, 0
    while time.perf_counter() < until:
        operation()
        number += 1
    batch = range(max(1, int(number * 0.001 / WARM_UP)))
    found, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in batch:
            operation()
        found.append((time.perf_counter() - began) / len(batch))
    return sorted(found)[len(found) // 2] * 1e6


def main() -> None:
    """Time what is asked for, until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # the log goes elsewhere
    django.setup()
    known = operations()
    print(json.dumps({"ready": sorted(known)}), file=answers, flush=True)
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        print(json.dumps({"us": timed(known[question["run"]], question["seconds"])}), file=answers, flush=True)


if __name__ == "__main__":
    main()
