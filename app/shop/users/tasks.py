"""Periodic repair after crashes: of the directory of addresses, and of ended logins."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import groupby

from celery import shared_task
from django.db import InterfaceError, InternalError, OperationalError
from django.db.models import Q
from django.db.models.functions import Now
from scaleout.identity import revocation, tokens
from scaleout.sharding.errors import BucketMoved

from shop.users import accounts, logins
from shop.users.models import EmailDirectory, Login

BATCH = 500

log = logging.getLogger(__name__)


@shared_task(name="users.tasks.repair_directory")
def repair_directory(after: str = "") -> int:
    """Settle the entries that are pending or changing for more than 30 s; return their number.

    Idempotent, also on two workers at once.
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
    log.info("address directory repaired: %d entries settled", count)
    return count


@shared_task(name="users.tasks.tend_logins")
def tend_logins() -> tuple[int, int]:
    """Publish the recently ended logins again, and delete those without a valid token.

    Return the numbers of both. The next round retries a shard that is down.
    """
    lately = Now() - timedelta(seconds=tokens.USER_SECONDS + tokens.LEEWAY)
    published, after = 0, 0
    while True:
        page = Login.objects.filter(revoked_at__gte=lately).scatter(limit=BATCH, after=after)
        revocation.publish([str(one.pk) for one in page])
        published += len(page.items)
        if page.next is None:
            break
        after = page.next
    done = Q(refreshed_at__lt=Now() - logins.UNUSED - timedelta(days=1)) | Q(revoked_at__lt=Now() - timedelta(hours=1))
    deleted = 0
    old = Login.objects.filter(done).scatter(limit=BATCH).items
    for alias, rows in groupby(sorted(old, key=_alias), key=_alias):
        try:
            deleted += Login.objects.filter(pk__in=[one.pk for one in rows]).delete()[0]
        except (BucketMoved, OperationalError, InterfaceError, InternalError) as error:
            log.warning("shard %s unavailable, old logins kept until the next round: %s", alias, error)
    log.info("logins tended: %d revocations published, %d logins deleted", published, deleted)
    return published, deleted


def _alias(login: Login) -> str:
    return login._state.db or ""
