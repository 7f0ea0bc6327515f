"""The relay: sends what was left in the outbox, in batches and for a bounded time."""

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
SECONDS = 8.0  # for one run; the next one goes on
TASKS = 2.0  # and for the tasks that are due
STRANGE = timedelta(minutes=10)  # longer than a release takes to replace another one
STRAYS = 1000  # in one run
NO_CONSUMER = "EVENTS names no such consumer"

# Away, or read-only since another server is the primary now, which PostgreSQL reports as
# InternalError.
AWAY = (OperationalError, InterfaceError, InternalError)

log = logging.getLogger(__name__)
_turns = count()


def relay(seconds: float = SECONDS) -> int:
    """Send what is due in the outboxes of this process, and return how many events. Several at once
    share the work.

    Single events first, in all outboxes; then of the many.
    """
    until = time.monotonic() + seconds
    sent = 0
    aliases = databases()
    # Each is first in its turn: one with a long row would leave no room to the others.
    first = next(_turns) % max(1, len(aliases))
    for bulk in (False, True):
        for alias in aliases[first:] + aliases[:first]:
            try:
                for claimed in _claims(alias, until, bulk=bulk):
                    if not dispatch(alias, claimed):
                        return sent
                    sent += len(claimed)
            except AWAY as error:  # the others go on
                log.warning("the outbox of %s cannot be read: %s", alias, " ".join(str(error).split()))
    return sent


def _claims(alias: str, until: float, *, bulk: bool) -> Iterator[list[Claimed]]:
    """Yield what is due in an outbox, a batch at a time, until no consumer has more that is due, or
    room for it.
    """
    left = consumers()
    first = next(_turns) % max(1, len(left))  # of consumers with one queue, too
    left = left[first:] + left[:first]
    began = time.monotonic()
    # As it was at first: what comes into the queues from here on is not what was in them before.
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
    """Return how many events may be sent now to each consumer for which there is room. Several may
    have one queue.
    """
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
            log.warning("the tasks in %s cannot be read: %s", alias, " ".join(str(error).split()))
    return sent


def consumers() -> list[str]:
    """Return all consumers that there are."""
    return sorted({one for some in conf().consumers.values() for one in some})


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
    """Park what is for a consumer that there is no more, or it would wait unseen for ever; return
    how many events.

    Not what is young: while a release replaces another one, the older one does not know all
    consumers.
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
            log.warning("the outbox of %s cannot be read: %s", alias, " ".join(str(error).split()))
    return parked
