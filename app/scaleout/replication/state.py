"""What one request, task or command has done to the databases so far, and what its reads must have
seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from django.db import DEFAULT_DB_ALIAS

PRIMARY = DEFAULT_DB_ALIAS


class _Strays:
    """Counts the writes of threads that belong to no request or task that this package knows."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.count = 0

    def add(self) -> None:
        """Count one more: whichever request runs now may have started the thread."""
        self.count = next(self._numbers)


_strays = _Strays()


@dataclass
class Done:
    """What was done, by all the threads and coroutines of one request or task."""

    written: set[str] = field(default_factory=set)  # the aliases that were written
    repeatable: bool = True  # nothing was written, and no message was sent
    failed: bool = False  # a query found no server, or lost it
    in_request: bool = False  # a caller waits for an answer
    read_only: int = 0  # how many views around this moment have promised to write nothing
    began_writing: float = 0.0  # monotonic
    unconfirmed: bool = False  # a write is on the primary, and no standby is known to have it
    lost: bool = False  # a server was lost before it answered whether a write is stored
    again: bool = False  # this is the second try: it reads the primary where there is one
    primary_said: bool = False  # the router has chosen the primary for a reason
    queries: dict[str, int] = field(default_factory=dict)  # by alias, in the order of the first
    servers: dict[str, str] = field(default_factory=dict)  # the server that answered last, by alias
    strays: int = field(default_factory=lambda: _strays.count)  # at the beginning


@dataclass
class Trail:
    """One request's or task's way through the databases, as one block of it sees it.

    A block (`at_least`, `use_primary`) has a Trail of its own in its context, so that two
    coroutines at once do not take each other's for theirs.
    """

    after: int = 0  # the position in the log that a replica must have replayed to be read
    on_primary: bool = False  # in a use_primary() block
    replica: str | None = None  # the alias that this request reads: it must not see two moments
    host: str | None = None  # the server that it was chosen for
    stray: bool = False  # a thread that no request or task has begun: whose write it must see is not known
    done: Done = field(default_factory=Done)
    outer: Trail | None = field(default=None, repr=False)  # the one around this block

    @property
    def wrote(self) -> bool:
        """Whether reads stay on the primary, because it was written."""
        return PRIMARY in self.done.written or self.done.strays != _strays.count

    def note_write(self, alias: str = PRIMARY) -> None:
        """Note that `alias` is written."""
        self.done.repeatable = False
        if self.stray and alias == PRIMARY:
            _strays.add()  # each time: another request may have sent the thread this one
        else:
            self.done.written.add(alias)

    def record(self, alias: str, server: str = "") -> None:
        """Count a query to `alias`, which `server` answers."""
        self.done.queries[alias] = self.done.queries.get(alias, 0) + 1
        self.done.servers[alias] = server


_trail: ContextVar[Trail | None] = ContextVar("replication_trail", default=None)


def current() -> Trail:
    """Return the trail of the request, task or thread that asks; a new one where there is none
    yet.
    """
    trail = _trail.get()
    if trail is None:
        trail = Trail(stray=threading.current_thread() is not threading.main_thread())
        _trail.set(trail)
    return trail


def begin(after: int = 0) -> Trail:
    """Start afresh, with reads that have seen `after`: called at the start of each request and
    task.

    A background thread that belongs to no request calls it too: otherwise its reads go to the
    primary.
    """
    trail = Trail(after)
    _trail.set(trail)
    return trail


def enter(**changes: Any) -> Trail:
    """Continue with a trail of its own that differs by `changes`; return it, for `leave`."""
    before = current()
    inner = replace(before, **changes, outer=before)
    _trail.set(inner)
    return inner


def leave(inner: Trail) -> None:
    """Go back to the trail before `inner`, unless that has ended: another request may close a
    generator.
    """
    if _trail.get() is inner:
        _trail.set(inner.outer)


@contextmanager
def block(**changes: Any) -> Iterator[Trail]:
    """Change the trail for a block."""
    inner = enter(**changes)
    try:
        yield inner
    finally:
        leave(inner)
