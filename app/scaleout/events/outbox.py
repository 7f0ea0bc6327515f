"""The outbox: an event is written in the transaction of its change, and sent after the commit.

The events of one aggregate reach a consumer in order: only the first one is sent, and the next one
when the consumer has confirmed it. A message that is duplicated, late or lost changes no order.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from scaleout.events import metrics, statements
from scaleout.events.conf import conf, current_headers
from scaleout.events.event import Event
from scaleout.events.models import Outbox
from scaleout.events.sending import SEEN, answers_of, queue_for, room, send
from scaleout.events.signing import signed
from scaleout.events.uuid7 import uuid7

SIZE = 65_536  # bytes of an event's data: broker, workers and database hold it in memory
BATCH = 1000  # events that one statement of publish_many writes
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the escape of JSON, and not a backslash with letters behind it


def publish(name: str, /, *, aggregate: str, using: str = "default", **data: Any) -> UUID:
    """Write an event about `aggregate` for the consumers of `name` (`EVENTS["CONSUMERS"]`).

    Return the event's id.

    Call it only inside a transaction on `using`, and best at its end: from here on another
    publisher for the same aggregate waits for the commit. After the commit the event is sent at
    once if the broker takes it and the consumer's queue is not full, else by the relay.

    Raises TransactionManagementError outside of a transaction; TypeError and ValueError for data
    that JSON, or PostgreSQL's, cannot hold, or of more than SIZE bytes.
    """
    consumers = conf().consumers.get(name)
    if consumers is None:
        raise ImproperlyConfigured(f"EVENTS['CONSUMERS'] names no consumers of {name}")
    if not connections[using].in_atomic_block:
        raise transaction.TransactionManagementError(
            f"{name} is published outside of a transaction on {using}: put the change and publish() into one atomic()"
        )
    event_id = uuid7()
    headers = current_headers()
    values: dict[str, Any] = {
        "event_id": event_id,
        "name": name,
        "aggregate": aggregate,
        "data": _json(data),
        "headers": json.dumps(headers),
    }
    alone, waiting = [], []
    with connections[using].cursor() as cursor:
        cursor.execute(statements.ONE_OF_AN_AGGREGATE, [aggregate])
        for consumer in consumers:
            cursor.execute(statements.WRITE, values | {"consumer": consumer})
            row = cursor.fetchone()
            event = _event(using, row)
            if event.sends:
                alone.append((row[0], event))
            else:
                waiting.append(consumer)
                cursor.execute(statements.HURRY, values | {"consumer": consumer})
    metrics.published.labels(name).inc()

    def send_now() -> None:
        _send_at_once(using, alone)
        for consumer in waiting:  # the event before it may be confirmed by now
            dispatch(using, _next(using, consumer, aggregate))

    transaction.on_commit(send_now, using=using, robust=True)
    return event_id


def _json(data: dict[str, Any]) -> str:
    """Return the data as text. Checked here, because a database error would break the caller's
    transaction.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False)
    if _NUL.search(text):
        raise ValueError("an event can't hold the character NUL")
    if len(text.encode()) > SIZE:  # UnicodeEncodeError, a ValueError: half of a character
        raise ValueError(f"an event can't hold more than {SIZE} bytes")
    return text


def publish_many(name: str, changes: Iterable[tuple[str, dict[str, Any]]], /, *, using: str = "default") -> None:
    """Write events about many aggregates, each with its data, for the consumers of `name`.

    Memory is bounded. The transaction must have locked a row of each aggregate, as every other
    publisher does: PostgreSQL has only some thousands of the locks that `publish` takes. The relay
    sends these events a few at a time, by queues of their own, so that single events overtake them.
    """
    headers = current_headers()
    due_at, count = timezone.now(), 0
    for some in batched(changes, BATCH, strict=False):
        rows = []
        for aggregate, data in some:
            count += 1
            _json(data)
            fields = {"event_id": uuid7(), "name": name, "aggregate": aggregate, "data": data, "headers": headers}
            rows += [Outbox(**fields, consumer=one, due_at=due_at, bulk=True) for one in conf().consumers[name]]
        Outbox.objects.using(using).bulk_create(rows)
    metrics.published.labels(name).inc(count)


@dataclass(frozen=True)
class Want:
    """A claim of up to `limit` events for `consumer`, of publish_many (`bulk`) or of publish.

    `taken`: the consumer's queue is empty. `heard`: the queue of its answers is empty. A sent event
    is resent only after both were seen, the second one some time after the first.
    """

    consumer: str
    bulk: bool
    limit: int
    taken: bool
    heard: bool


type Claimed = tuple[int, Event]


def claim(alias: str, wants: Sequence[Want], ago: float = 0.0) -> tuple[list[Claimed], dict[tuple[str, bool], int]]:
    """Claim events that are due; return them with the numbers of their rows, for the caller to send
    now.

    Also return how many rows were looked at, by consumer and bulk. `ago`: seconds since the lengths
    of the queues were read. The events are due again some time later, even if the caller dies.
    """
    values: dict[str, Any] = {
        "consumers": [one.consumer for one in wants],
        "bulks": [one.bulk for one in wants],
        "limits": [one.limit for one in wants],
        "taken": [one.taken for one in wants],
        "heard": [one.heard for one in wants],
        "ago": ago,
    }
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(statements.BY_INDEX)
        cursor.execute(statements.CLAIM, values)
        rows = sorted(cursor.fetchall(), key=lambda row: int(row[0]))
    looked = Counter((event.consumer, event.bulk) for event in (_event(alias, row[:-1]) for row in rows))
    return [(row[0], _event(alias, row[:-1])) for row in rows if row[-1] == "send"], looked


def dispatch(alias: str, claimed: Sequence[Claimed]) -> bool:
    """Send claimed events. Those that the broker does not take are due again at once; then return
    False.
    """
    for position, (_, event) in enumerate(claimed):
        if not _send(event, "relay"):
            _give_back(alias, claimed[position:])
            return False
    return True


def _send_at_once(alias: str, written: Sequence[Claimed]) -> None:
    """Send the events after the commit; leave to the relay what has no room or the broker does not
    take.

    If the broker does not report a queue's length nothing is sent: a request waits for one failure
    at most.
    """
    left = [
        (number, event)
        for number, event in written
        if not room(event.consumer, bulk=False, seen=SEEN) or not _send(event, "commit")
    ]
    if left:
        _give_back(alias, left)


def _give_back(alias: str, claimed: Sequence[Claimed]) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statements.BACK, [[number for number, _ in claimed]])


def received(alias: str, event_id: UUID, consumer: str) -> None:
    """Delete a confirmed event, and send the next one: of its aggregate, or for a bulk event any
    other, so that the consumer stays busy.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(statements.RECEIVED, [event_id, consumer])
        row = cursor.fetchone()
    if row is None:
        return
    aggregate, bulk = row
    # After the commit: a publisher of the next event either sees this one gone, or is seen itself.
    following = _next(alias, consumer, aggregate)
    if bulk and not following and room(consumer, bulk=True, seen=SEEN):
        following, _ = claim(alias, [Want(consumer, bulk=True, limit=1, taken=False, heard=False)])
    dispatch(alias, following)


def discard(alias: str, event_ids: Iterable[UUID]) -> int:
    """Delete parked events, and send those that wait behind them; return how many were deleted."""
    parked = Outbox.objects.using(alias).filter(parked_at__isnull=False, event_id__in=list(event_ids))
    with transaction.atomic(using=alias):
        gone = list(parked.select_for_update().values_list("id", "consumer", "aggregate"))
        Outbox.objects.using(alias).filter(pk__in=[number for number, _, _ in gone]).delete()
        following = [one for _, consumer, aggregate in gone for one in _next(alias, consumer, aggregate)]
    dispatch(alias, following)
    return len(gone)


def _next(alias: str, consumer: str, aggregate: str) -> list[Claimed]:
    """Claim the first event of an aggregate if it has not been sent."""
    with connections[alias].cursor() as cursor:
        cursor.execute(statements.NEXT, {"consumer": consumer, "aggregate": aggregate})
        return [(row[0], _event(alias, row)) for row in cursor.fetchall()]


def failed(  # noqa: PLR0913 - the fields of an answer
    alias: str, event_id: UUID, consumer: str, error: str, *, counts: bool, sends: int = 0
) -> bool:
    """Count a failure of the consumer with the event; return whether the event is parked now.

    `counts`: the event may be the cause. It is not while the consumer's database is down. `sends`:
    the number of the copy that failed.
    """
    with connections[alias].cursor() as cursor:
        values: dict[str, Any] = {"event_id": event_id, "consumer": consumer, "error": error, "counts": int(counts)}
        values["sends"] = sends
        cursor.execute(statements.FAILED, values)
        row = cursor.fetchone()
    return bool(row and row[0])


def resend(alias: str, event_ids: Iterable[UUID] | None = None) -> int:
    """Make parked events due again, all of them by default; return how many."""
    parked = Outbox.objects.using(alias).filter(parked_at__isnull=False)
    if event_ids is not None:
        parked = parked.filter(event_id__in=list(event_ids))
    return parked.update(parked_at=None, failures=0, sends=0, known=statements.UNKNOWN, bulk=False, due_at=Now())


def _event(alias: str, row: Sequence[Any]) -> Event:
    _, event_id, name, aggregate, consumer, data, headers, at, sends, bulk = row
    return Event(
        event_id,
        name,
        aggregate,
        json.loads(data),
        at,
        consumer,
        outbox=alias,
        queue=answers_of(bulk=bulk),
        sends=sends,
        headers=json.loads(headers),
        bulk=bulk,
    )


def _send(event: Event, by: str) -> bool:
    headers = signed(event)
    if headers is None:  # the relay of a process with the key sends it
        return False
    to = queue_for(event.consumer, bulk=event.bulk)
    if not send(event.consumer, to, headers=headers, event=event.message()):
        return False
    metrics.sent.labels(event.name, by).inc()
    return True
