"""Prometheus metrics of purges."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

purges = Counter("cdn_purges", "Purges of tags, by outcome.", ["outcome"])
breaker = Gauge("cdn_breaker_open", "Processes whose breaker for the edge is open.", multiprocess_mode="livesum")
