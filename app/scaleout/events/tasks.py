"""Tasks of a service's workers for its outbox. No message names the service: each has its queue."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from scaleout.events import outbox
from scaleout.events.relay import park_strays, relay, relay_tasks, tidy

log = logging.getLogger(__name__)


@shared_task(name="events.answer")
def answer(  # noqa: PLR0913 - the fields of a message
    alias: str, event_id: str, consumer: str, error: str = "", *, counts: bool = True, sends: int = 0
) -> None:
    """Apply a consumer's answer to an event of the outbox in `alias`. A repeated answer changes
    nothing.
    """
    if not error:
        outbox.received(alias, UUID(event_id), consumer)
    elif outbox.failed(alias, UUID(event_id), consumer, error, counts=counts, sends=sends):
        log.error("event parked: %s for %s: %s", event_id, consumer, error)


@shared_task(name="events.relay")
def relay_outboxes() -> None:
    """Send the events that are due."""
    relay_tasks()
    relay()


@shared_task(name="events.tidy")
def tidy_inboxes() -> None:
    """Delete old entries, and park events without a consumer."""
    tidy()
    if parked := park_strays():
        log.error("events parked: %d without a consumer", parked)
