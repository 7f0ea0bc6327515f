"""What a value is made of, said where it is read: `depends("product:7")`.

So a function that is cached need not know what the functions that it calls have read, nor a list who is on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from caching import level

_collected: ContextVar[set[str] | None] = ContextVar("caching_depends", default=None)


def depends(*tags: str) -> None:
    """Let the value that is being computed bear `tags`; where none is, the answer (`shown()`)."""
    collected = _collected.get()
    if collected is not None:
        collected.update(tags)
    else:
        level.shows(tags)


@contextmanager
def collecting() -> Iterator[set[str]]:
    """Collect the tags of one value; those of the values that it is made of belong to it."""
    tags: set[str] = set()
    before = _collected.set(tags)
    try:
        yield tags
    finally:
        _collected.reset(before)
    depends(*tags)


def computing() -> bool:
    """Return whether a value is being computed."""
    return _collected.get() is not None
