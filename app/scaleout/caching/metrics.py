"""Prometheus metrics of the cache.

A hit in this process takes half a microsecond, and a labelled counter that several processes share
takes four times that. So plain counters count the hits, and the watch adds them to the metrics
twice a second.
"""

from __future__ import annotations

from itertools import count

from prometheus_client import Counter, Gauge, Histogram

requests = Counter("caching_requests", "Calls of cached functions, by where the value was.", ["function", "level"])
recomputations = Counter("caching_recomputations", "Values that were computed, by reason.", ["function", "reason"])
invalidations = Counter("caching_invalidations", "Tags that were invalidated by this process.")
unsent = Gauge("caching_unsent_invalidations", "Invalidated tags that Redis lacks.", multiprocess_mode="livesum")
refused = Counter("caching_refused", "Values in Redis that this application has not put there.", ["where"])
breaker = Gauge("caching_breaker_open", "Processes whose breaker for Redis is open.", multiprocess_mode="livesum")
waits = Histogram(
    "caching_wait_seconds",
    "Seconds that a caller waited for another's computation.",
    ["function"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)


class Tally:
    """A counter that threads share without a lock: `next()` of a count is one step."""

    def __init__(self, function: str, level: str) -> None:
        self._target = requests.labels(function, level)
        self._numbers = count()
        self.add = self._numbers.__next__
        self._added = 0
        tallies.append(self)

    def tell(self) -> None:
        """Add what was counted since the last time to the metric."""
        number = next(self._numbers)
        if number > self._added:
            self._target.inc(number - self._added)
        self._added = number + 1  # reading the count has taken a number as well


tallies: list[Tally] = []


def tell() -> None:
    """Add all tallies to their metrics: by one thread only."""
    for tally in tallies:
        tally.tell()
