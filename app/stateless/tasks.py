"""Keep the table of sessions small; count."""

from __future__ import annotations

import logging

from celery import shared_task
from django.contrib.sessions.models import Session
from django.utils import timezone
from replication import use_primary

from stateless.models import Counter

BATCH = 1000

log = logging.getLogger(__name__)


@shared_task
def count(name: str) -> None:
    """Add one to the counter `name`. Delivered twice, it is counted twice: a queue promises at least once."""
    Counter.add(name)


@shared_task
def clear_expired_sessions() -> int:
    """Delete the sessions that have expired and return how many, a batch at a time so that locks stay short.

    Doing it twice, or at once on two workers, does no harm.
    """
    deleted = 0
    while True:
        with use_primary():
            expired = Session.objects.filter(expire_date__lt=timezone.now())
            batch = list(expired.values_list("session_key", flat=True)[:BATCH])
        count, _ = Session.objects.filter(session_key__in=batch).delete()
        deleted += count
        if len(batch) < BATCH:
            break
    log.info("cleared %d expired sessions", deleted)
    return deleted
