"""Where the values of a request came from: for `X-Cache`."""

from __future__ import annotations

from contextvars import ContextVar

L1, L2, MISS = 1, 2, 3
NAMES = {L1: "L1", L2: "L2", MISS: "MISS"}

farthest: ContextVar[int] = ContextVar("caching_farthest", default=0)


def note(level: int) -> None:
    """Take note that a value came from `level`."""
    if level > farthest.get():
        farthest.set(level)
