"""What Prometheus is told of the calls to services."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

requests = Counter("gateway_requests", "Answers by service and status.", ["service", "status"])
seconds = Histogram(
    "gateway_seconds",
    "Seconds until the service's answer began, second tries included.",
    ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
)
retries = Counter("gateway_retries", "Second tries by service.", ["service"])
failures = Counter("gateway_failures", "Tries that a service did not answer, by service and kind.", ["service", "kind"])
rejections = Counter("gateway_rejections", "Requests not passed on, by service and reason.", ["service", "reason"])
cut = Counter("gateway_cut_answers", "Answers that ended before their end.", ["service"])
# One line for each process, since each has a breaker of its own.
breaker = Gauge("gateway_breaker_state", "0 closed, 1 half-open, 2 open.", ["service"], multiprocess_mode="liveall")
rate_limit_errors = Counter("gateway_rate_limit_errors", "Requests let through since Redis did not answer.")
