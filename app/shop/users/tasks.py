"""Finish what a crash has left half done in the directory of addresses."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db.models import Q
from django.db.models.functions import Now

from shop.users import accounts
from shop.users.models import EmailDirectory

BATCH = 500

log = logging.getLogger(__name__)


@shared_task(name="users.tasks.repair_directory")
def repair_directory(after: str = "") -> int:
    """Settle the entries that have been pending or changing for longer than anybody takes; return how many.

    Doing it twice, or at once on two workers, does no harm.
    """
    unsettled = ~Q(state=EmailDirectory.State.ACTIVE) & Q(created_at__lt=Now() - accounts.PATIENCE)
    count = 0
    while True:
        batch = EmailDirectory.objects.using("default").filter(unsettled, email__gt=after).order_by("email")[:BATCH]
        for entry in batch:
            accounts.settle(entry)
            count, after = count + 1, entry.email
        if len(batch) < BATCH:
            break
    log.info("settled %d addresses", count)
    return count
