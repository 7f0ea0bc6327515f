"""What Prometheus is told of purges."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

purges = Counter("cdn_purges", "Tags that the edge was to forget, by outcome.", ["outcome"])
breaker = Gauge("cdn_breaker_open", "Processes that leave the edge out.", multiprocess_mode="livesum")
