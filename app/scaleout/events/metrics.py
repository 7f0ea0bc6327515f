"""Prometheus metrics of the events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

published = Counter("events_published", "Events that were written to an outbox.", ["event"])
sent = Counter("events_sent", "Events that the broker took, resent ones included.", ["event", "by"])
unsent = Counter("events_unsent", "Messages that the broker did not take. The relay sends them later.")
received = Counter("events_received", "Events delivered to a consumer, by outcome.", ["event", "outcome"])
refused = Counter("events_refused", "Messages that were dropped: not signed by the event's owner.", ["event"])
duplicates = Counter("events_duplicates", "Events that were dropped: they had had their effect.", ["event"])
# Measured by each replica of a service (measuring.py): the newest value counts.
depth = Gauge("events_outbox_depth", "Events that no consumer has yet.", ["outbox"], multiprocess_mode="mostrecent")
age = Gauge(
    "events_outbox_age_seconds", "Age of the oldest event in the outbox.", ["outbox"], multiprocess_mode="mostrecent"
)
parked = Gauge("events_parked", "Events that wait for a person.", ["outbox"], multiprocess_mode="mostrecent")
queue = Gauge("events_queue_length", "Messages that no worker has taken.", ["queue"], multiprocess_mode="mostrecent")
