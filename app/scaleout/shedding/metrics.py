"""Prometheus metrics of refused requests and of the wait of all requests."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

refused = Counter("shedding_refused", "Requests refused since they had waited too long, by class.", ["kind"])
waited = Histogram(
    "shedding_wait_seconds",
    "Seconds from the load balancer to the first line of the application.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
)
