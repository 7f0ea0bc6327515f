"""The relay: sends what was left in the outbox, in batches and for a bounded time."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from itertools import count

from django.apps import apps
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError
from django.db.models.functions import Now

from scaleout.events.inbox import KEPT
from scaleout.events.later import send_due
from scaleout.events.models import InboxEntry, Later, Outbox, databases
from scaleout.events.outbox import claim, dispatch
from scaleout.events.sending import has_room, queue_of

BATCH = 100
SECONDS = 8.0  # for one run; the next one goes on
TASKS = 2.0  # and for the tasks that are due
STRANGE = timedelta(minutes=10)  # longer than a release takes to replace another one
NO_CONSUMER = "settings.EVENTS names no such consumer"

# Away, or read-only since another server is the primary now, which PostgreSQL reports as InternalError.
AWAY = (OperationalError, InterfaceError, InternalError)

log = logging.getLogger(__name__)
_turns = count()


def relay(seconds: float = SECONDS) -> int:
    """Send what is due in the outboxes of this process, and return how many events. Several at once share the work."""
    until = time.monotonic() + seconds
    sent = 0
    aliases = databases()
    # Each is first in its turn: one with a long row would leave no room to the others.
    first = next(_turns) % max(1, len(aliases))
    for alias in aliases[first:] + aliases[:first]:
        try:
            while time.monotonic() < until:
                claimed = claim(alias, _with_room(), BATCH)
                if not dispatch(alias, claimed):
                    return sent
                sent += len(claimed)
                if len(claimed) < BATCH:
                    break
        except AWAY as error:  # the others go on
            log.warning("the outbox of %s cannot be read: %s", alias, " ".join(str(error).split()))
    return sent


def relay_tasks(seconds: float = TASKS) -> int:
    """Send the tasks that are due (later.py), and return how many."""
    until = time.monotonic() + seconds
    sent = 0
    for alias in databases(Later):
        try:
            while time.monotonic() < until and send_due(alias):
                sent += 1
        except AWAY as error:
            log.warning("the tasks in %s cannot be read: %s", alias, " ".join(str(error).split()))
    return sent


def _with_room() -> list[str]:
    """Return the consumers whose queues take more."""
    queues = {consumer: queue_of(consumer) for consumer in consumers()}
    room = {queue: has_room(queue) for queue in set(queues.values())}
    return [consumer for consumer, queue in queues.items() if room[queue]]


def consumers() -> list[str]:
    """Return all consumers that there are."""
    return sorted({one for some in settings.EVENTS.values() for one in some})


def tidy(seconds: float = SECONDS) -> int:
    """Delete what the inboxes need not remember any more, and return how many entries."""
    until = time.monotonic() + seconds
    deleted = 0
    for model in (one for one in apps.get_models() if issubclass(one, InboxEntry)):
        for alias in databases(model):
            try:
                while time.monotonic() < until:
                    rows = model._default_manager.using(alias)
                    old = list(rows.filter(received_at__lt=Now() - KEPT).values_list("pk", flat=True)[:BATCH])
                    deleted += rows.filter(pk__in=old).delete()[0] if old else 0
                    if len(old) < BATCH:
                        break
            except AWAY as error:  # also where a bucket is just moving: the next time, then
                log.warning("%s of %s is not tidied: %s", model._meta.db_table, alias, " ".join(str(error).split()))
    return deleted


def park_strays() -> int:
    """Park what is for a consumer that there is no more, or it would wait unseen for ever; return how many events.

    Not what is young: while a release replaces another one, the older one does not know all consumers.
    """
    parked = 0
    for alias in databases():
        strays = Outbox.objects.using(alias).filter(parked_at=None, created_at__lt=Now() - STRANGE)
        try:
            parked += strays.exclude(consumer__in=consumers()).update(parked_at=Now(), error=NO_CONSUMER)
        except AWAY as error:
            log.warning("the outbox of %s cannot be read: %s", alias, " ".join(str(error).split()))
    return parked
