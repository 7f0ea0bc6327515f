"""The tasks of the counter and of the sessions."""

from __future__ import annotations

import logging
import time

from celery import shared_task
from django.contrib.sessions.models import Session
from django.db import DatabaseError, transaction
from django.utils import timezone

from shop.shared_state.models import Counter

BATCH = 1000
SECONDS = 10.0  # half of a task's time limit

log = logging.getLogger(__name__)


# Retries after 1, 2, 4, … 30 s: without the database a longer delay cannot be stored.
@shared_task(
    name="stateless.tasks.count",
    autoretry_for=(DatabaseError,),
    retry_backoff=1,
    retry_backoff_max=30,
    max_retries=12,
)
def count(name: str) -> None:
    """Add one to the counter `name`. Not idempotent: a second delivery counts again."""
    Counter.add(name)


@shared_task(name="stateless.tasks.clear_expired_sessions")
def clear_expired_sessions() -> int:
    """Delete expired sessions in batches, so that locks stay short; return their number.

    The next run continues after the time limit. Concurrent runs share the work. A session that is
    being saved is skipped.
    """
    deleted, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        with transaction.atomic():
            expired = Session.objects.select_for_update(skip_locked=True).filter(expire_date__lt=timezone.now())
            batch = list(expired.values_list("session_key", flat=True)[:BATCH])
            deleted += Session.objects.filter(session_key__in=batch).delete()[0]
        if len(batch) < BATCH:
            break
    log.info("expired sessions cleared: %d deleted", deleted)
    return deleted
