"""What Prometheus is told of the cache.

A hit in this process takes half a microsecond, a labelled counter that several processes share four
times that. So hits are counted in plain counters, which the watch carries over twice a second.
"""

from __future__ import annotations

from itertools import count

from prometheus_client import Counter, Gauge, Histogram

requests = Counter("caching_requests", "Calls of cached functions, by where the value was.", ["function", "level"])
recomputations = Counter("caching_recomputations", "Values that were computed, by reason.", ["function", "reason"])
invalidations = Counter("caching_invalidations", "Tags that were invalidated by this process.")
unsent = Gauge("caching_unsent_invalidations", "Tags that Redis is still to be told of.", multiprocess_mode="livesum")
refused = Counter("caching_refused", "Values in Redis that were not what this application puts there.", ["where"])
breaker = Gauge("caching_breaker_open", "Processes that leave Redis out.", multiprocess_mode="livesum")
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
        self._told = 0
        tallies.append(self)

    def tell(self) -> None:
        """Carry over what was counted since the last time."""
        number = next(self._numbers)
        if number > self._told:
            self._target.inc(number - self._told)
        self._told = number + 1  # the number that was just taken was nobody's


tallies: list[Tally] = []


def tell() -> None:
    """Carry all tallies over: by one thread only."""
    for tally in tallies:
        tally.tell()
