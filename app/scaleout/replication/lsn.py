"""Positions in PostgreSQL's write-ahead log (LSN) as 64-bit numbers, which compare correctly."""

from __future__ import annotations

import re

MAXIMUM = 2**64 - 1
_FORM = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(text: str) -> int:
    """Return the position of PostgreSQL's notation `text`, such as `16/B374D848`. Raises
    ValueError.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"not a position in the log: {text[:40]!r}")
    high, low = match.groups()
    return int(high, 16) << 32 | int(low, 16)


def render(position: int) -> str:
    """Return `position` as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
