"""The backlog of the outboxes and queues, measured at each scrape by Prometheus.

Not by a task: while the broker is down no task runs, and then the measurement matters most.
"""

from __future__ import annotations

import threading
import time

from django.db import connections, transaction

from scaleout.events import metrics
from scaleout.events.conf import conf
from scaleout.events.models import databases
from scaleout.events.relay import AWAY
from scaleout.events.sending import length
from scaleout.events.statements import BY_INDEX

EVERY = 4.0  # seconds between two looks of one process: Prometheus scrapes every five
PATIENCE = 1.0  # seconds that a scrape waits for all outboxes
STATEMENT = "1s"
NOTHING = (float("nan"),) * 3  # the metrics of an outbox that does not answer

MOST = 10_000  # events that are counted exactly; beyond that the statistics estimate, up to a second late
# By the primary key: so one look passes over the deleted rows at its beginning, and not each one.
_QUERY = f"""
    SELECT CASE WHEN counted <= {MOST} THEN counted
                ELSE greatest(counted, pg_stat_get_live_tuples('events_outbox'::regclass)) END,
           coalesce(extract(epoch FROM clock_timestamp() - oldest), 0),
           (SELECT count(*) FROM (SELECT FROM events_outbox WHERE parked_at IS NOT NULL ORDER BY id LIMIT {MOST + 1}))
      FROM (SELECT count(*) AS counted, min(created_at) AS oldest
              FROM (SELECT id, created_at FROM events_outbox ORDER BY id LIMIT {MOST + 1}) AS first) AS looked
"""  # noqa: S608 - our own numbers
_lock = threading.Lock()
_looks: dict[str, _Look] = {}  # the last one, by alias


class _Look(threading.Thread):
    """A look into one outbox. While it hangs, no second one begins."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"outbox {alias}", daemon=True)
        self.alias = alias
        self.began = time.monotonic()

    def run(self) -> None:
        """Look, and set the gauges."""
        try:
            with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT])
                cursor.execute(BY_INDEX)
                cursor.execute(_QUERY)
                self.tell(cursor.fetchone())
        except AWAY:
            self.tell(NOTHING)
        finally:
            connections.close_all()

    def tell(self, found: tuple[float, float, float]) -> None:
        """Set the gauges of this outbox."""
        name = connections.settings[self.alias]["NAME"]
        for gauge, value in zip((metrics.depth, metrics.age, metrics.parked), found, strict=True):
            gauge.labels(name).set(float(value))


def measure() -> None:
    """Set the gauges of each backlog and its age. Returns in time: an unknown value is not a
    number.
    """
    looks = [_look(alias) for alias in databases()]
    for queue in conf().queues or [conf().queue]:
        waiting = length(queue)
        metrics.queue.labels(queue).set(float("nan") if waiting is None else waiting)
    until = time.monotonic() + PATIENCE
    for look in looks:
        look.join(max(0.0, until - time.monotonic()))
        if look.is_alive():
            look.tell(NOTHING)


def _look(alias: str) -> _Look:
    """Return a look that is recent enough, or start one."""
    with _lock:
        look = _looks.get(alias)
        if look is None or not (look.is_alive() or time.monotonic() - look.began < EVERY):
            look = _looks[alias] = _Look(alias)
            look.start()
        return look
