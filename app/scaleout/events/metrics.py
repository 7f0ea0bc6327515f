"""What Prometheus is told of the events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

published = Counter("events_published", "Events that were written to an outbox.", ["event"])
sent = Counter("events_sent", "Events that were given to the broker, at first and again.", ["event", "by"])
unsent = Counter("events_unsent", "Messages that the broker did not take. The relay sends them later.")
received = Counter("events_received", "Events that came to a consumer, by how that ended.", ["event", "outcome"])
refused = Counter("events_refused", "Messages that were dropped: not signed by the event's owner.", ["event"])
duplicates = Counter("events_duplicates", "Events that were dropped: their effect was there already.", ["event"])
# Measured by each replica of a service (measuring.py); of several the newest is as good as any.
depth = Gauge("events_outbox_depth", "Events that no consumer has yet.", ["outbox"], multiprocess_mode="mostrecent")
age = Gauge(
    "events_outbox_age_seconds", "Age of the oldest event in the outbox.", ["outbox"], multiprocess_mode="mostrecent"
)
parked = Gauge("events_parked", "Events that wait for a person.", ["outbox"], multiprocess_mode="mostrecent")
queue = Gauge("events_queue_length", "Messages that no worker has taken.", ["queue"], multiprocess_mode="mostrecent")
