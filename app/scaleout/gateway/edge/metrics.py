"""Prometheus metrics of the callers' requests."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

requests = Counter("gateway_requests", "Answers by service and status.", ["service", "status"])
seconds = Histogram(
    "gateway_seconds",
    "Seconds until the service's answer began, second tries included.",
    ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
)
rejections = Counter("gateway_rejections", "Requests not passed on, by service and reason.", ["service", "reason"])
rate_limit_errors = Counter("gateway_rate_limit_errors", "Requests let through since Redis did not answer.")
