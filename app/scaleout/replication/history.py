"""The times at which the log reached its positions: since when a standby lacks a change."""

from __future__ import annotations

import threading
from bisect import bisect_right
from operator import itemgetter

FINENESS = 64  # an age is too high by at most 1/64 of itself


class History:
    """Positions of the log, each with a time before which nothing beyond the previous one was
    written.

    No entry is dropped. Old entries are merged, so a year takes less than 1,100 of them; a merged
    entry keeps the older time, so an age is never too low.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[float, int]] = []  # replaced, never changed: readers take no lock

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The furthest position that is known; 0 while none is."""
        entries = self._entries
        return entries[-1][1] if entries else 0

    def note(self, since: float, now: float, position: int) -> None:
        """Record that the log has reached `position`, and that its new part was written at `since`
        or later.
        """
        with self._lock:
            entries = self._entries
            if entries and position <= entries[-1][1]:
                return
            if entries:
                since = max(since, entries[-1][0])
            self._entries = _merge([*entries, (since, position)], now)

    def cut(self, position: int) -> None:
        """Drop the entries beyond `position`: they were lost with an old primary."""
        with self._lock:
            end = bisect_right(self._entries, position, key=itemgetter(1))
            kept, lost = self._entries[:end], self._entries[end:]
            # Part of the log between the last kept position and this one was written at that time.
            self._entries = [*kept, (lost[0][0], position)] if lost else kept

    def missed_since(self, position: int) -> float | None:
        """Return the time of the oldest entry beyond `position`; None without one."""
        entries = self._entries
        index = bisect_right(entries, position, key=itemgetter(1))
        return entries[index][0] if index < len(entries) else None


def _merge(entries: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    merged: list[tuple[float, int]] = []
    for since, position in entries:
        if merged and since - merged[-1][0] < (now - since) / FINENESS:
            merged[-1] = (merged[-1][0], position)
        else:
            merged.append((since, position))
    return merged
