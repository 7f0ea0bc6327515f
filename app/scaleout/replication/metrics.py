"""Prometheus metrics of the reads, and of the servers that answer them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

queries = Counter("replication_queries", "Queries by database alias.", ["alias"])
primary_reads = Counter(
    "replication_primary_reads", "Reads that the router sent to the primary, by reason.", ["reason"]
)
evictions = Counter("replication_evictions", "Servers that were removed, by server and reason.", ["server", "reason"])
lag_seconds = Gauge(
    "replication_lag_seconds", "Age of the oldest change not replayed.", ["server"], multiprocess_mode="livemax"
)
lag_bytes = Gauge("replication_lag_bytes", "Bytes of the log not replayed.", ["server"], multiprocess_mode="livemax")
unconfirmed = Counter(
    "replication_unconfirmed", "Writes that no standby confirmed in time, by what was done with them.", ["outcome"]
)
second_tries = Counter(
    "replication_second_tries", "Requests whose view was run again elsewhere, by outcome.", ["outcome"]
)
positions_missed = Counter(
    "replication_positions_missed", "Positions of users that were not asked for or not kept: Redis did not answer."
)
