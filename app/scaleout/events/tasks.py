"""What the workers of a service do for its outbox. Their messages name no service: each goes to a
queue by name.
"""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from scaleout.events import outbox
from scaleout.events.relay import park_strays, relay, relay_tasks, tidy

log = logging.getLogger(__name__)


@shared_task(name="events.answer")
def answer(  # noqa: PLR0913 - the words of a message
    alias: str, event_id: str, consumer: str, error: str = "", *, counts: bool = True, sends: int = 0
) -> None:
    """Take note of what a consumer says of an event of the outbox in `alias`. Said twice it changes
    nothing.
    """
    if not error:
        outbox.received(alias, UUID(event_id), consumer)
    elif outbox.failed(alias, UUID(event_id), consumer, error, counts=counts, sends=sends):
        log.error("parked: event %s for %s: %s", event_id, consumer, error)


@shared_task(name="events.relay")
def relay_outboxes() -> None:
    """Send what was left."""
    relay_tasks()
    relay()


@shared_task(name="events.tidy")
def tidy_inboxes() -> None:
    """Delete what is old, and park what nobody can receive."""
    tidy()
    if parked := park_strays():
        log.error("parked: %d events of consumers that there are no more", parked)
