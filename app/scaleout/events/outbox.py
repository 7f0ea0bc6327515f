"""The outbox: an event is written in the transaction of the change that it tells of, and sent after the commit.

What the rows of one consumer and one aggregate promise is their order: only the first is ever on its way, and the
next one goes when the consumer has that. So a message that comes twice, or late, or never, changes no order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from itertools import batched
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.module_loading import import_string

from scaleout.events import metrics
from scaleout.events.event import Event
from scaleout.events.models import Outbox
from scaleout.events.sending import SEEN, has_room, queue_of, send
from scaleout.events.signing import signed
from scaleout.events.uuid7 import uuid7

# Seconds until what was sent, and of which nothing was heard, is sent again: longer than a consumer with nothing else
# to do takes. The waits grow up to LONGEST.
SILENCE = 10
LONGEST = 120
# Failures of the consumer until an event is parked: with the waits between them that is about four minutes.
FAILURES = 8
# Of many events at once: so many are written by one statement, and due in a second. The consumer has others as well.
BATCH, PACE = 1000, 20

_COLUMNS = "id, event_id, name, aggregate, consumer, data::text, headers::text, created_at, sends"
# A wait after so many sends: 2, 4, 8, … seconds, a fifth more or less, so that what failed together does not come back
# together.
_WAIT = "make_interval(secs => greatest({least}, least({longest}, 2 ^ least(sends, 10))) * (0.8 + 0.4 * random()))"
_ONE_OF_AN_AGGREGATE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
# What waits behind another one is due at once: it goes when that one has gone. A statement of its own after the lock,
# so that it sees what whoever had the lock has committed.
_WRITE = f"""
    INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, headers, created_at, due_at, sends)
    SELECT %(event_id)s, %(name)s, %(aggregate)s, %(consumer)s, %(data)s, %(headers)s, clock_timestamp(),
           clock_timestamp() + CASE WHEN waits THEN interval '0' ELSE make_interval(secs => {SILENCE}) END,
           CASE WHEN waits THEN 0 ELSE 1 END
      FROM (SELECT EXISTS (SELECT FROM events_outbox
                            WHERE consumer = %(consumer)s AND aggregate = %(aggregate)s) AS waits)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - made of our own words
# Skipped: what another relay has in its hand. One that it has just sent is not due any more when its lock is gone.
_CLAIM = f"""
    UPDATE events_outbox SET sends = sends + 1, due_at = clock_timestamp() + {_WAIT.format(least=SILENCE, longest=LONGEST)}
     WHERE id = ANY(ARRAY(
           SELECT id FROM events_outbox AS one
            WHERE parked_at IS NULL AND due_at <= clock_timestamp() AND consumer = ANY(%(consumers)s)
              AND (%(aggregate)s::text IS NULL OR aggregate = %(aggregate)s)
              AND NOT EXISTS (SELECT FROM events_outbox AS earlier
                               WHERE earlier.consumer = one.consumer AND earlier.aggregate = one.aggregate
                                 AND earlier.id < one.id)
            ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING {_COLUMNS}
"""  # noqa: S608, E501 - as above
# Only what is said of the newest copy: older ones pile up while a consumer is away, and would all fail at once when it
# is back with its first second a bad one. 0: said by a consumer of an older release.
_FAILED = f"""
    UPDATE events_outbox
       SET failures = failures + %(counts)s, error = %(error)s,
           due_at = clock_timestamp() + {_WAIT.format(least=0, longest=LONGEST)},
           parked_at = CASE WHEN failures + %(counts)s >= {FAILURES} THEN clock_timestamp() END
     WHERE event_id = %(event_id)s AND consumer = %(consumer)s AND parked_at IS NULL AND %(sends)s IN (0, sends)
    RETURNING parked_at
"""  # noqa: S608 - as above
_RECEIVED = "DELETE FROM events_outbox WHERE event_id = %s AND consumer = %s RETURNING aggregate"
_BACK = "UPDATE events_outbox SET sends = sends - 1, due_at = clock_timestamp() WHERE id = ANY(%s) AND sends > 0"
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the escape of JSON, and not a backslash with letters behind it


def publish(name: str, /, *, aggregate: str, using: str = "default", **data: Any) -> UUID:
    """Tell the consumers of `name` (`settings.EVENTS`) what has happened to `aggregate`; return the event's id.

    Only inside a transaction on `using`, whose commit makes it true; best at its end, for from here on others who tell
    of the same aggregate wait for that. Afterwards it is sent at once if the broker takes it and the consumer's
    queue is not full, and by the relay if not.
    Raises TransactionManagementError outside of a transaction; TypeError and ValueError for data that JSON, or
    PostgreSQL's, can't hold.
    """
    consumers = settings.EVENTS.get(name)
    if consumers is None:
        raise ImproperlyConfigured(f"settings.EVENTS names no consumers of {name}")
    if not connections[using].in_atomic_block:
        raise transaction.TransactionManagementError(
            f"{name} is told outside of a transaction on {using}: it would be told although its change is not made"
        )
    event_id = uuid7()
    headers: dict[str, str] = import_string(settings.EVENTS_HEADERS)()
    values: dict[str, Any] = {
        "event_id": event_id,
        "name": name,
        "aggregate": aggregate,
        "data": _json(data),
        "headers": json.dumps(headers),
    }
    alone = []
    with connections[using].cursor() as cursor:
        cursor.execute(_ONE_OF_AN_AGGREGATE, [aggregate])
        for consumer in consumers:
            cursor.execute(_WRITE, values | {"consumer": consumer})
            event = _event(using, cursor.fetchone())
            if event.sends:
                alone.append(event)
    metrics.published.labels(name).inc()
    if alone:
        transaction.on_commit(partial(_send, alone, "commit"), using=using, robust=True)
    return event_id


def _json(data: dict[str, Any]) -> str:
    """Return the data as text. An error of the database would have broken the caller's transaction."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False)
    if _NUL.search(text):
        raise ValueError("an event can't hold the character NUL")
    text.encode()  # UnicodeEncodeError, a ValueError: half of a character
    return text


def publish_many(name: str, told: Iterable[tuple[str, dict[str, Any]]], /, *, using: str = "default") -> None:
    """Tell the consumers of `name` what has happened to many aggregates, each with its data; in bounded memory.

    The transaction must have locked a row of each of these aggregates, as whoever else tells of them does: of the locks
    that `publish` takes the server has only some thousands. They are sent by the relay, PACE in a second.
    """
    headers: dict[str, str] = import_string(settings.EVENTS_HEADERS)()
    start, count = timezone.now(), 0
    for some in batched(told, BATCH, strict=False):
        rows = []
        for aggregate, data in some:
            count += 1
            due_at = start + timedelta(seconds=count / PACE)
            told_of = {"event_id": uuid7(), "name": name, "aggregate": aggregate, "data": data, "headers": headers}
            rows += [Outbox(**told_of, consumer=consumer, due_at=due_at) for consumer in settings.EVENTS[name]]
        Outbox.objects.using(using).bulk_create(rows)
    metrics.published.labels(name).inc(count)


def claim(alias: str, consumers: Iterable[str], limit: int, aggregate: str | None = None) -> list[tuple[int, Event]]:
    """Return up to `limit` events that are due, with the numbers of their rows: they are the caller's to send now.

    They are due again some time later, whatever becomes of the caller.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(_CLAIM, {"consumers": list(consumers), "aggregate": aggregate, "limit": limit})
        return [(row[0], _event(alias, row)) for row in sorted(cursor.fetchall(), key=lambda row: int(row[0]))]


def dispatch(alias: str, claimed: Sequence[tuple[int, Event]]) -> bool:
    """Send what was claimed. What the broker does not take is due again at once; then return False."""
    for position, (_, event) in enumerate(claimed):
        if not _send([event], "relay"):
            with connections[alias].cursor() as cursor:
                cursor.execute(_BACK, [[number for number, _ in claimed[position:]]])
            return False
    return True


def received(alias: str, event_id: UUID, consumer: str) -> None:
    """Note that the consumer has had the effect of the event, and send what waits behind it."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_RECEIVED, [event_id, consumer])
        row = cursor.fetchone()
    if row:
        dispatch(alias, claim(alias, [consumer], 1, aggregate=row[0]))


def failed(  # noqa: PLR0913 - what an answer says
    alias: str, event_id: UUID, consumer: str, error: str, *, counts: bool, sends: int = 0
) -> bool:
    """Note that the consumer has failed with the event; return whether it is parked now.

    `counts`: the event may be the reason. It is not while the consumer's database is away. `sends`: which copy of it.
    """
    with connections[alias].cursor() as cursor:
        values: dict[str, Any] = {"event_id": event_id, "consumer": consumer, "error": error, "counts": int(counts)}
        values["sends"] = sends
        cursor.execute(_FAILED, values)
        row = cursor.fetchone()
    return bool(row and row[0])


def resend(alias: str, event_ids: Iterable[UUID] | None = None) -> int:
    """Let parked events be sent again, all of them by default; return how many."""
    parked = Outbox.objects.using(alias).filter(parked_at__isnull=False)
    if event_ids is not None:
        parked = parked.filter(event_id__in=list(event_ids))
    return parked.update(parked_at=None, failures=0, sends=0, due_at=Now())


def _event(alias: str, row: Sequence[Any]) -> Event:
    _, event_id, name, aggregate, consumer, data, headers, at, sends = row
    return Event(
        event_id,
        name,
        aggregate,
        json.loads(data),
        at,
        consumer,
        outbox=alias,
        queue=settings.EVENTS_QUEUE,
        sends=sends,
        headers=json.loads(headers),
    )


def _send(events: Iterable[Event], by: str) -> bool:
    for event in events:
        # Where the broker does not say, nothing is sent either: it costs a request no more than one failure.
        if by == "commit" and has_room(queue_of(event.consumer), SEEN) is False:
            continue
        headers = signed(event)
        if headers is None:
            continue
        if not send(event.consumer, headers=headers, event=event.message()):
            return False
        metrics.sent.labels(event.name, by).inc()
    return True
