"""Prometheus metrics of the calls to services."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

retries = Counter("gateway_retries", "Second tries by service.", ["service"])
failures = Counter("gateway_failures", "Tries that a service did not answer, by service and kind.", ["service", "kind"])
cut = Counter("gateway_cut_answers", "Answers that ended before their end.", ["service"])
# One line for each process, since each has a breaker of its own.
breaker = Gauge("gateway_breaker_state", "0 closed, 1 half-open, 2 open.", ["service"], multiprocess_mode="liveall")
