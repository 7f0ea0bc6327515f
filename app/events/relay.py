"""The relay: sends what was left in the outbox, in batches and for a bounded time."""

from __future__ import annotations

import logging
import time

from django.apps import apps
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connections
from django.db.models.functions import Now

from events import metrics
from events.inbox import KEPT
from events.models import InboxEntry, databases
from events.outbox import claim, dispatch
from events.sending import length, queue_of

BATCH = 100
SECONDS = 8.0  # for one run; the next one goes on
# Messages in a queue beyond which nothing is sent again to it: its consumer has enough to do, and what waits there
# would be sent once more for each pause that passes.
FULL = 500

# Away, or read-only since another server is the primary now, which PostgreSQL reports as InternalError.
AWAY = (OperationalError, InterfaceError, InternalError)

log = logging.getLogger(__name__)


def relay(seconds: float = SECONDS) -> int:
    """Send what is due in the outboxes of this process, and return how many events. Several at once share the work."""
    until = time.monotonic() + seconds
    sent = 0
    for alias in databases():
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


def _with_room() -> list[str]:
    """Return the consumers whose queues take more."""
    consumers = sorted({one for some in settings.EVENTS.values() for one in some})
    queues = {consumer: queue_of(consumer) for consumer in consumers}
    lengths = {queue: length(queue) for queue in set(queues.values())}
    return [consumer for consumer, queue in queues.items() if (count := lengths[queue]) is not None and count < FULL]


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


def measure() -> None:
    """Tell Prometheus how much waits, and for how long. What cannot be asked is not a number."""
    for alias in databases():
        name = connections[alias].settings_dict["NAME"]
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0),"
                    " count(parked_at) FROM events_outbox"
                )
                found = cursor.fetchone()
        except AWAY:
            found = (float("nan"),) * 3
        for gauge, value in zip((metrics.depth, metrics.age, metrics.parked), found, strict=True):
            gauge.labels(name).set(float(value))
    waiting = length(settings.EVENTS_QUEUE)
    metrics.queue.labels(settings.EVENTS_QUEUE).set(float("nan") if waiting is None else waiting)
