"""Where the values of a request came from, for `X-Cache`, and the tags that they bear, for a cache
in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

L1, L2, MISS = 1, 2, 3
NAMES = {L1: "L1", L2: "L2", MISS: "MISS"}

farthest: ContextVar[int] = ContextVar("caching_farthest", default=0)
# Outside of a request nobody collects them.
collected: ContextVar[list[tuple[str, ...]] | None] = ContextVar("caching_shown", default=None)


def note(level: int) -> None:
    """Take note that a value came from `level`."""
    if level > farthest.get():
        farthest.set(level)


def shows(tags: tuple[str, ...]) -> None:
    """Take note that the answer is made of a value that bears `tags`."""
    so_far = collected.get()
    if so_far is not None:
        so_far.append(tags)


@contextmanager
def unshown() -> Iterator[None]:
    """Let what is read inside be no part of the answer: its tags are not in `shown()`."""
    before = collected.set(None)
    try:
        yield
    finally:
        collected.reset(before)


def shown() -> set[str]:
    """Return the tags of all that this request has read so far: what invalidates one of them makes
    the answer wrong.
    """
    so_far: Iterable[tuple[str, ...]] = collected.get() or ()
    return {tag for tags in so_far for tag in tags}
