"""The age of an unfinished move and the length of its log, measured at each scrape by Prometheus.

While a move rests, its source logs each write of its buckets, until the move is resumed or aborted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction
from prometheus_client import Gauge

from scaleout.sharding import metrics, shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.models import Move

EVERY = 15.0  # seconds between two looks of one process
PATIENCE = 1.0  # seconds that `measure` waits for all databases
STATEMENT = "1s"
OVER = [str(step) for step in (Move.Step.ACTIVE, Move.Step.CLEANED, Move.Step.ABORTED)]

type _Query = tuple[str, list[Any]]
# From its first and last ids: a count would read the whole log.
_CHANGES: _Query = (
    "SELECT coalesce(max(id) - min(id) + 1, 0), pg_total_relation_size('sharding_change') FROM sharding_change",
    [],
)
_MOVE: _Query = (
    "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created)), 0) FROM sharding_move WHERE step <> ALL(%s)",
    [OVER],
)
_lock = threading.Lock()
_looks: dict[str, _Look] = {}  # the last one, by alias


class _Look(threading.Thread):
    """A query of one database. While it hangs, no second one begins."""

    def __init__(self, alias: str, query: _Query, gauges: Sequence[Gauge]) -> None:
        super().__init__(name=f"moves {alias}", daemon=True)
        self.began = time.monotonic()
        self._alias, self._query, self._gauges = alias, query, gauges

    def run(self) -> None:
        """Set the gauges to the database's answer."""
        try:
            with transaction.atomic(using=self._alias), connections[self._alias].cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT])
                cursor.execute(*self._query)
                self.show(cursor.fetchone())
        except (OperationalError, InterfaceError, InternalError):  # down, or no longer the primary
            self.show_unknown()
        finally:
            connections.close_all()

    def show(self, values: Sequence[float]) -> None:
        """Set the gauges."""
        name = connections.settings[self._alias]["NAME"]
        for gauge, value in zip(self._gauges, values, strict=True):
            gauge.labels(name).set(float(value))

    def show_unknown(self) -> None:
        """Set the gauges to "not a number"."""
        self.show([float("nan")] * len(self._gauges))


def measure() -> None:
    """Measure the map's database and each shard. Returns in time: an unknown value is not a
    number.
    """
    if not conf().shards:
        return
    looks = [_look(shard_map.DATABASE, _MOVE, [metrics.age])]
    looks += [_look(alias, _CHANGES, [metrics.changes, metrics.size]) for alias in conf().shards.values()]
    until = time.monotonic() + PATIENCE
    for look in looks:
        look.join(max(0.0, until - time.monotonic()))
        if look.is_alive():
            look.show_unknown()


def _look(alias: str, query: _Query, gauges: Sequence[Gauge]) -> _Look:
    """Return a look that is recent enough, or start one."""
    with _lock:
        look = _looks.get(alias)
        if look is None or not (look.is_alive() or time.monotonic() - look.began < EVERY):
            look = _looks[alias] = _Look(alias, query, gauges)
            look.start()
        return look
