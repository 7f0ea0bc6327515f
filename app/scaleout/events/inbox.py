"""The inbox: an event has its effect once, however many times it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

from celery import Task, shared_task
from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from scaleout.events import metrics
from scaleout.events.event import VERSION, Event
from scaleout.events.sending import send
from scaleout.events.signing import HEADER, believed

# How long an inbox remembers. What is older than that is refused, since nobody knows any more
# whether it was received.
KEPT = timedelta(days=30)
_LATE = KEPT - timedelta(hours=1)  # clocks differ
ERROR_MAX = 500  # characters of an error that the producer keeps

type Effect = Callable[[Event], None]
# Runs the effect of an event in one transaction with an entry in an inbox, unless that is there
# already; returns whether it did.
type Once = Callable[[Event, Effect], bool]

# Errors of the consumer's database that another try may not have, by the first characters of their
# SQLSTATE: no connection, a conflict with another transaction, one that holds a lock for long, a
# server that is full, that stops or starts, that is read-only. One without a SQLSTATE is not the
# server's: it was not reached. All others may come of the event itself.
_PASSING = ("08", "40", "55P03", "531", "532", "533", "57P", "25006")

log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 - said of the event
    """The event may have had its effect, may kill who tries, or can't be read: not now."""


def once(event: Event, effect: Effect, using: str = "default") -> bool:
    """Run the effect in a transaction on `using`, whose inbox has the entry. A second one at the
    same time waits.
    """
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO events_inbox (consumer, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [event.consumer, event.id],
            )
            if not cursor.rowcount:
                return False
        effect(event)
    return True


def consumer(
    run: Once = once, name: str = "", needs: Mapping[str, type] = MappingProxyType({})
) -> Callable[[Effect], Task[Any, Any]]:
    """Make a function the consumer of events: a Celery task that `EVENTS["CONSUMERS"]` names by
    `name`.

    Without a name it has the function's own. Events in the outbox carry it: name the task, and the
    function can move.

    `needs`: what each event's data must have, and of which type. An event without it fails with
    that reason, and so does one of a later version; what it has besides is ignored.

    The function is called inside the transaction of `run`, once for each event. What it changes
    elsewhere may be changed again. If it raises, nothing is changed, and the event comes again.
    """

    def decorate(effect: Effect) -> Task[Any, Any]:
        def receive(task: Task[Any, Any], event: dict[str, Any]) -> None:
            request = task.request
            # The latter where the task is run eagerly.
            signature = request.get(HEADER) or (request.headers or {}).get(HEADER)
            if believed(event, str(task.name), signature):
                again = bool((request.delivery_info or {}).get("redelivered"))
                _receive(Event.read(event), effect, partial(_checked, run, needs), again=again)

        # What was taken by a worker that was killed, or that was ended because it hung, comes back
        # at once, and is known for it (`redelivered`). Without these it would be lost with its
        # worker, until the producer sends it.
        made: Task[Any, Any] = shared_task(
            name=name or f"{effect.__module__}.{effect.__name__}",
            base=Task,
            bind=True,
            acks_late=True,
            reject_on_worker_lost=True,
            acks_on_timeout=False,
        )(receive)
        return made

    return decorate


def _checked(run: Once, needs: Mapping[str, type], event: Event, effect: Effect) -> bool:
    """Do as `run`, with an event that this release can read. Raises Refused for any other."""
    if event.version > VERSION:
        raise Refused(f"version {event.version} of events is not known here, only up to {VERSION}")
    for name, kind in needs.items():
        # True is an int in Python, and none in JSON.
        if not isinstance(value := event.data.get(name), kind) or (kind is int and isinstance(value, bool)):
            raise Refused(f"its data have no {kind.__name__} {name!r}")
    return run(event, effect)


def _receive(event: Event, effect: Effect, run: Once, *, again: bool) -> None:
    def guarded(event: Event) -> None:
        if again:
            # The broker sends it back at once and for ever, however many workers it kills. The
            # producer sends it with growing pauses, counts, and gives up.
            raise Refused("its worker was lost while it had it")
        if datetime.now(UTC) - event.at > _LATE:
            raise Refused(f"older than the {KEPT.days} days for which an inbox knows what it has had")
        effect(event)

    try:
        fresh = run(event, guarded)
    except Exception as error:
        if _passes(error):
            _answer(event, "later", error)
            return
        if not isinstance(error, Refused):
            log.exception("%s could not handle %s %s", event.consumer, event.name, event.id)
        _answer(event, "failed", error)
    else:
        if not fresh:
            metrics.duplicates.labels(event.name).inc()
        _answer(event, "received" if fresh else "duplicate")


def _passes(error: Exception) -> bool:
    """Return whether the consumer's database is the reason, which is away or has something else to
    do.
    """
    if not isinstance(error, OperationalError | InterfaceError | InternalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_PASSING)


def _answer(event: Event, outcome: str, error: Exception | None = None) -> None:
    """Tell the producer. If that fails the event comes again, and is answered again."""
    metrics.received.labels(event.name, outcome).inc()
    if outcome != "received":
        log.info("%s of %s for %s: %s", event.name, event.aggregate, event.consumer, outcome)
    arguments: dict[str, Any] = {"alias": event.outbox, "event_id": str(event.id), "consumer": event.consumer}
    if error is not None:
        # As text that a database takes: no NUL, and no half of a character, as names of files may
        # have them.
        text = f"{type(error).__name__}: {error}".replace("\0", " ").encode(errors="replace").decode()
        said = " ".join(text.split())
        arguments |= {"error": said[:ERROR_MAX], "counts": outcome == "failed", "sends": event.sends}
    send("events.answer", event.queue, **arguments)
