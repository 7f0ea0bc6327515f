"""The relay: send what is left in the outboxes, in batches and for a bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

from django.apps import apps
from django.db import InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models.functions import Now

from scaleout.events.conf import conf
from scaleout.events.inbox import KEPT
from scaleout.events.later import send_due
from scaleout.events.models import InboxEntry, Later, Outbox, databases
from scaleout.events.outbox import Claimed, Want, claim, dispatch
from scaleout.events.sending import answers_of, queue_for, room, waiting
from scaleout.events.statements import BY_INDEX, CONSUMERS

BATCH = 100
SECONDS = 8.0  # for one run; the next one continues
TASKS = 2.0  # of it for the tasks that are due
STRANGE = timedelta(minutes=10)  # longer than a rolling deploy takes
STRAYS = 1000  # in one run
NO_CONSUMER = "EVENTS names no such consumer"

# Down, or read-only after a failover, which PostgreSQL reports as InternalError.
AWAY = (OperationalError, InterfaceError, InternalError)

log = logging.getLogger(__name__)
_turns = count()


def relay(seconds: float = SECONDS) -> int:
    """Send the events that are due in the outboxes of this process, and return how many.

    Several relays share the work. Single events go first, in all outboxes; then those of
    publish_many.
    """
    until = time.monotonic() + seconds
    sent = 0
    aliases = databases()
    # Each outbox is first in its turn: else a long one would leave no room to the others.
    first = next(_turns) % max(1, len(aliases))
    for bulk in (False, True):
        for alias in aliases[first:] + aliases[:first]:
            try:
                for claimed in _claims(alias, until, bulk=bulk):
                    if not dispatch(alias, claimed):
                        return sent
                    sent += len(claimed)
            except AWAY as error:  # continue with the other outboxes
                log.warning("outbox of %s not read: %s", alias, " ".join(str(error).split()))
    return sent


def _claims(alias: str, until: float, *, bulk: bool) -> Iterator[list[Claimed]]:
    """Yield batches of due events of an outbox until no consumer has more of them, or room for
    them.
    """
    left = consumers()
    first = next(_turns) % max(1, len(left))  # also among consumers of one queue
    left = left[first:] + left[:first]
    began = time.monotonic()
    # The state at the beginning: an event sent from here on was not in the queues at that time.
    taken = {one: waiting(queue_for(one, bulk=bulk)) == 0 for one in left}
    heard = waiting(answers_of(bulk=bulk)) == 0
    while left and time.monotonic() < until:
        limits = _limits(left, bulk=bulk)
        if not limits:
            return
        wants = [Want(one, bulk, limit, taken[one], heard) for one, limit in limits.items()]
        claimed, looked = claim(alias, wants, ago=time.monotonic() - began)
        yield claimed
        left = [one for one in left if one not in limits or looked[one, bulk] == limits[one]]


def _limits(of: list[str], *, bulk: bool) -> dict[str, int]:
    """Return how many events each consumer may get now. Several consumers may share a queue."""
    limits, rooms = dict[str, int](), dict[str, int]()
    for one in of:
        queue = queue_for(one, bulk=bulk)
        if queue not in rooms:
            rooms[queue] = room(one, bulk=bulk)
        if limit := min(BATCH, rooms[queue]):
            rooms[queue] -= limit
            limits[one] = limit
    return limits


def relay_tasks(seconds: float = TASKS) -> int:
    """Send the tasks that are due (later.py), and return how many."""
    until = time.monotonic() + seconds
    sent = 0
    for alias in databases(Later):
        try:
            while time.monotonic() < until and send_due(alias):
                sent += 1
        except AWAY as error:
            log.warning("later tasks of %s not read: %s", alias, " ".join(str(error).split()))
    return sent


def consumers() -> list[str]:
    """Return all consumers in the settings."""
    return sorted({one for some in conf().consumers.values() for one in some})


def tidy(seconds: float = SECONDS) -> int:
    """Delete inbox entries that are too old to be needed, and return how many."""
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
            except AWAY as error:  # also while a bucket moves: the next run deletes them
                log.warning("%s of %s not tidied: %s", model._meta.db_table, alias, " ".join(str(error).split()))
    return deleted


def park_strays() -> int:
    """Park events of consumers that no longer exist; return how many. Else they would wait unseen
    for ever.

    Young ones are left: during a deploy the older release does not know all consumers.
    """
    parked = 0
    for alias in databases():
        outbox = Outbox.objects.using(alias)
        try:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute(BY_INDEX)
                cursor.execute(CONSUMERS)
                strange = {one for (one,) in cursor.fetchall()} - set(consumers())
                old = outbox.filter(parked_at=None, consumer__in=strange, created_at__lt=Now() - STRANGE)
                some = list(old.order_by("consumer", "bulk", "due_at").values_list("pk", flat=True)[:STRAYS])
                parked += outbox.filter(pk__in=some, parked_at=None).update(parked_at=Now(), error=NO_CONSUMER)
        except AWAY as error:
            log.warning("outbox of %s not read: %s", alias, " ".join(str(error).split()))
    return parked
