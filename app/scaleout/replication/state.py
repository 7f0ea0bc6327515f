"""What one request, task or command has done to the databases so far, and the position its reads
need.
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
    """A count of the writes of threads without a request or task."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.count = 0

    def add(self) -> None:
        """Count one more: any request that runs now may have started the thread."""
        self.count = next(self._numbers)


_strays = _Strays()


@dataclass
class Done:
    """The queries and writes of all threads and coroutines of one request or task."""

    written: set[str] = field(default_factory=set)  # the aliases that were written
    repeatable: bool = True  # nothing was written, and no message was sent
    failed: bool = False  # a query found no server, or lost it
    in_request: bool = False  # a caller waits for the answer
    read_only: int = 0  # how many enclosing views are read-only
    began_writing: float = 0.0  # monotonic
    unconfirmed: bool = False  # a write is on the primary, and no standby is known to have it
    lost: bool = False  # a server was lost before it confirmed a write
    again: bool = False  # this is the second try: it reads the primary if one exists
    primary_said: bool = False  # the router has chosen the primary for a reason
    queries: dict[str, int] = field(default_factory=dict)  # by alias, in the order of the first
    servers: dict[str, str] = field(default_factory=dict)  # the server that answered last, by alias
    strays: int = field(default_factory=lambda: _strays.count)  # at the beginning


@dataclass
class Trail:
    """The way of one request or task through the databases, as one block of it sees it.

    A block (`at_least`, `use_primary`) has a Trail of its own in its context, so that parallel
    coroutines do not share it.
    """

    after: int = 0  # the position in the log that a replica must have replayed to be read
    on_primary: bool = False  # in a use_primary() block
    replica: str | None = None  # the alias that this request reads: its reads must be of one moment
    host: str | None = None  # the server that it was chosen for
    stray: bool = False  # a thread without a request or task: the position that it needs is unknown
    done: Done = field(default_factory=Done)
    outer: Trail | None = field(default=None, repr=False)  # the trail around this block

    @property
    def wrote(self) -> bool:
        """Whether reads stay on the primary, because this request has written there."""
        return PRIMARY in self.done.written or self.done.strays != _strays.count

    def note_write(self, alias: str = PRIMARY) -> None:
        """Record a write to `alias`."""
        self.done.repeatable = False
        if self.stray and alias == PRIMARY:
            _strays.add()  # each time: another request may have given the thread this write
        else:
            self.done.written.add(alias)

    def record(self, alias: str, server: str = "") -> None:
        """Count a query to `alias`, which `server` answers."""
        self.done.queries[alias] = self.done.queries.get(alias, 0) + 1
        self.done.servers[alias] = server


_trail: ContextVar[Trail | None] = ContextVar("replication_trail", default=None)


def current() -> Trail:
    """Return the trail of the current request, task or thread; a new one if it has none."""
    trail = _trail.get()
    if trail is None:
        trail = Trail(stray=threading.current_thread() is not threading.main_thread())
        _trail.set(trail)
    return trail


def begin(after: int = 0) -> Trail:
    """Start afresh, with reads that see `after`: called at the start of each request and task.

    A background thread calls it too: else its reads go to the primary.
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
    """Restore the trail before `inner`, unless that has ended: another request may close a
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
