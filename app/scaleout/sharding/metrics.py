"""Prometheus metrics of moves, measured by each replica of a service: the newest value counts."""

from __future__ import annotations

from prometheus_client import Gauge

changes = Gauge(
    "sharding_changes",
    "Rows in the log of a move, at most: written at the source and not copied yet.",
    ["shard"],
    multiprocess_mode="mostrecent",
)
size = Gauge("sharding_change_bytes", "Size of that log on disk.", ["shard"], multiprocess_mode="mostrecent")
age = Gauge(
    "sharding_move_age_seconds",
    "Age of the unfinished move; 0 without one.",
    ["context"],
    multiprocess_mode="mostrecent",
)
