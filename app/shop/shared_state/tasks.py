"""Keep the table of sessions small; count."""

from __future__ import annotations

import logging
import time

from celery import shared_task
from django.contrib.sessions.models import Session
from django.db import DatabaseError, transaction
from django.utils import timezone

from shop.shared_state.models import Counter

BATCH = 1000
SECONDS = 10.0  # half of what a task may take

log = logging.getLogger(__name__)


# Waits of 1, 2, 4, … 30 s: without the database a longer one can be kept nowhere.
@shared_task(
    name="stateless.tasks.count",
    autoretry_for=(DatabaseError,),
    retry_backoff=1,
    retry_backoff_max=30,
    max_retries=12,
)
def count(name: str) -> None:
    """Add one to the counter `name`. Delivered twice, it is counted twice: a queue promises at
    least once.
    """
    Counter.add(name)


@shared_task(name="stateless.tasks.clear_expired_sessions")
def clear_expired_sessions() -> int:
    """Delete sessions that have expired and return how many: a batch at a time, so that locks stay
    short.

    What one run does not manage is the next one's. Two at once share the work; a session that is
    used again at this moment is left alone.
    """
    deleted, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        with transaction.atomic():
            expired = Session.objects.select_for_update(skip_locked=True).filter(expire_date__lt=timezone.now())
            batch = list(expired.values_list("session_key", flat=True)[:BATCH])
            deleted += Session.objects.filter(session_key__in=batch).delete()[0]
        if len(batch) < BATCH:
            break
    log.info("cleared %d expired sessions", deleted)
    return deleted
