"""What the workers of a service do for its outbox. Their messages name no service: each goes to a queue by name."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from events import outbox
from events.relay import measure, relay, tidy

log = logging.getLogger(__name__)


@shared_task(name="events.answer")
def answer(alias: str, event_id: str, consumer: str, error: str = "", *, counts: bool = True) -> None:
    """Take note of what a consumer says of an event of the outbox in `alias`. Said twice it changes nothing."""
    if not error:
        outbox.received(alias, UUID(event_id), consumer)
    elif outbox.failed(alias, UUID(event_id), consumer, error, counts=counts):
        log.error("parked: event %s for %s: %s", event_id, consumer, error)


@shared_task(name="events.relay")
def relay_outboxes() -> None:
    """Send what was left."""
    relay()


@shared_task(name="events.tidy")
def tidy_inboxes() -> None:
    """Delete what is old."""
    tidy()


@shared_task(name="events.measure")
def measure_outboxes() -> None:
    """Tell Prometheus."""
    measure()
