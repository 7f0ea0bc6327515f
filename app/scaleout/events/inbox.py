"""The inbox: an event has its effect once, however many times it is delivered."""

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

# How long an inbox keeps its entries. An older event is refused: the inbox no longer knows whether
# it was received.
KEPT = timedelta(days=30)
_LATE = KEPT - timedelta(hours=1)  # clocks differ
ERROR_MAX = 500  # characters of an error that the producer keeps

type Effect = Callable[[Event], None]
# Runs the effect of an event in one transaction with an entry in an inbox, unless the entry exists;
# returns whether the effect ran.
type Once = Callable[[Event, Effect], bool]

# Errors of the consumer's database that a retry may not have, by the first characters of their
# SQLSTATE: no connection, a conflict with another transaction, a long lock, a server that is full,
# stops, starts or is read-only. An error without a SQLSTATE means that the server was not reached.
# All others may be caused by the event itself.
_PASSING = ("08", "40", "55P03", "531", "532", "533", "57P", "25006")

log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 - names the event's fate
    """The event is not handled now: it may have had its effect, may kill its worker, or is
    unreadable.
    """


def once(event: Event, effect: Effect, using: str = "default") -> bool:
    """Run the effect in a transaction on `using`, with the entry in its inbox.

    A second delivery at the same time waits for the first.
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

    The default name is the function's own. Events in the outbox keep the name: with an explicit one
    the function can move.

    `needs`: the fields that each event's data must have, and their types. An event without one
    fails with that reason, and so does one of a later version; other fields are ignored.

    The function is called inside the transaction of `run`, once for each event. What it changes
    elsewhere may be changed again. If it raises, nothing is changed, and the event is delivered
    again.
    """

    def decorate(effect: Effect) -> Task[Any, Any]:
        def receive(task: Task[Any, Any], event: dict[str, Any]) -> None:
            request = task.request
            # The latter if the task runs eagerly.
            signature = request.get(HEADER) or (request.headers or {}).get(HEADER)
            if believed(event, str(task.name), signature):
                again = bool((request.delivery_info or {}).get("redelivered"))
                _receive(Event.read(event), effect, partial(_checked, run, needs), again=again)

        # A message whose worker was killed, or ended because it hung, is delivered again at once,
        # marked as `redelivered`. Without these options it would be lost with its worker, until the
        # producer resends it.
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
    """Run `run` if this release can read the event. Raises Refused for any other event."""
    if event.version > VERSION:
        raise Refused(f"event version {event.version} is unknown: this release knows versions up to {VERSION}")
    for name, kind in needs.items():
        # True is an int in Python, but not in JSON.
        if not isinstance(value := event.data.get(name), kind) or (kind is int and isinstance(value, bool)):
            raise Refused(f"the event's data lack the {kind.__name__} {name!r}")
    return run(event, effect)


def _receive(event: Event, effect: Effect, run: Once, *, again: bool) -> None:
    def guarded(event: Event) -> None:
        if again:
            # The broker redelivers it at once and for ever, even if it kills each worker. The
            # producer resends it with growing pauses, counts its failures, and parks it.
            raise Refused("the worker was lost while it handled the event")
        if datetime.now(UTC) - event.at > _LATE:
            raise Refused(f"older than the {KEPT.days} days that an inbox keeps its entries")
        effect(event)

    try:
        fresh = run(event, guarded)
    except Exception as error:
        if _passes(error):
            _answer(event, "later", error)
            return
        if not isinstance(error, Refused):
            log.exception("event failed: %s: %s %s", event.consumer, event.name, event.id)
        _answer(event, "failed", error)
    else:
        if not fresh:
            metrics.duplicates.labels(event.name).inc()
        _answer(event, "received" if fresh else "duplicate")


def _passes(error: Exception) -> bool:
    """Return whether the consumer's database is the cause of the failure: down, busy or full."""
    if not isinstance(error, OperationalError | InterfaceError | InternalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_PASSING)


def _answer(event: Event, outcome: str, error: Exception | None = None) -> None:
    """Answer the producer. If that fails the event is delivered again, and answered again."""
    metrics.received.labels(event.name, outcome).inc()
    if outcome != "received":
        log.info("%s of %s for %s: %s", event.name, event.aggregate, event.consumer, outcome)
    arguments: dict[str, Any] = {"alias": event.outbox, "event_id": str(event.id), "consumer": event.consumer}
    if error is not None:
        # As text that a database accepts: without NUL, and without half characters, which file
        # names may have.
        text = f"{type(error).__name__}: {error}".replace("\0", " ").encode(errors="replace").decode()
        said = " ".join(text.split())
        arguments |= {"error": said[:ERROR_MAX], "counts": outcome == "failed", "sends": event.sends}
    send("events.answer", event.queue, **arguments)
