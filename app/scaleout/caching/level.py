"""The levels of a request's values, for `X-Cache`, and their tags, for a cache in front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

L1, L2, MISS = 1, 2, 3
NAMES = {L1: "L1", L2: "L2", MISS: "MISS"}

farthest: ContextVar[int] = ContextVar("caching_farthest", default=0)
# Outside of a request nothing is collected.
collected: ContextVar[list[tuple[str, ...]] | None] = ContextVar("caching_shown", default=None)


def note(level: int) -> None:
    """Record that a value came from `level`."""
    if level > farthest.get():
        farthest.set(level)


def shows(tags: tuple[str, ...]) -> None:
    """Record that the answer is made of a value with `tags`."""
    so_far = collected.get()
    if so_far is not None:
        so_far.append(tags)


@contextmanager
def unshown() -> Iterator[None]:
    """Keep the tags of values read inside out of `shown()`: they are no part of the answer."""
    before = collected.set(None)
    try:
        yield
    finally:
        collected.reset(before)


def shown() -> set[str]:
    """Return the tags of all values of this request so far: invalidating one makes the answer
    wrong.
    """
    so_far: Iterable[tuple[str, ...]] = collected.get() or ()
    return {tag for tags in so_far for tag in tags}
