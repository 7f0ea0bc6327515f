"""The dependencies of a value, declared where they are read: `depends("product:7")`.

So a cached function need not know what the functions that it calls have read, nor a list its
members.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from scaleout.caching import level

_collected: ContextVar[set[str] | None] = ContextVar("caching_depends", default=None)
_making: ContextVar[frozenset[str]] = ContextVar("caching_making", default=frozenset())  # keys


def depends(*tags: str) -> None:
    """Give `tags` to the value that is being computed; outside of one, to the answer
    (`shown()`).
    """
    collected = _collected.get()
    if collected is not None:
        collected.update(tags)
    else:
        level.shows(tags)


@contextmanager
def collecting(key: str) -> Iterator[set[str]]:
    """Collect the tags of the value of `key`, those of the values that it is made of included."""
    tags: set[str] = set()
    before, others = _collected.set(tags), _making.set(_making.get() | {key})
    try:
        yield tags
    finally:
        _collected.reset(before)
        _making.reset(others)
    depends(*tags)


def computing() -> bool:
    """Return whether a value is being computed."""
    return _collected.get() is not None


def making(key: str) -> bool:
    """Return whether the caller itself computes the value of `key`: it would wait for itself."""
    return key in _making.get()
