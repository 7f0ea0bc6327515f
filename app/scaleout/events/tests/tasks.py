"""A consumer that does as the event says, and writes down that it did."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from django.db import OperationalError, connections, transaction

from scaleout.events.event import Event
from scaleout.events.inbox import consumer

TABLE = "events_tests_effect"
following: ContextVar[str] = ContextVar("following", default="")


def headers() -> dict[str, str]:
    """Say which request an event follows from."""
    return {"traceparent": following.get()}


def die() -> None:
    """End this process as if by the kernel."""
    os.kill(os.getpid(), signal.SIGKILL)


def once_only(event: Event) -> bool:
    """Return whether this is the first time, in whatever process."""
    file = Path(event.data["folder"]) / f"seen-{event.id}"
    first = not file.exists()
    file.touch()
    return first


@consumer(needs={"label": str})
def handle(event: Event) -> None:
    """Write the label down, and do what else is said."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"INSERT INTO {TABLE} (label) VALUES (%s)", [event.data["label"]])  # noqa: S608 - our own word
    match event.data.get("and"):
        case "fail":
            raise ValueError("no good\0\udce9")
        case "fail while there is a file" if (Path(event.data["folder"]) / "broken").exists():
            raise ValueError("broken")
        case "lose the database":
            raise OperationalError("the server is away")
        case "take too long":
            with connections["default"].cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 10")
                cursor.execute("SELECT pg_sleep(5)")  # an OperationalError, each time
        case "find it locked":
            with closing(connections["default"].copy()) as other:
                other.cursor().execute("SELECT pg_advisory_lock(7)")
                with connections["default"].cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = 10")
                    cursor.execute("SELECT pg_advisory_xact_lock(7)")
        case "lose the primary":
            with connections["default"].cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")  # as on a server that is the primary no more
                cursor.execute(f"INSERT INTO {TABLE} (label) VALUES ('never')")  # noqa: S608 - our own word
        case "die":
            die()
        case "die the first time" if once_only(event):
            die()
        case "wait to be killed the first time" if once_only(event):
            threading.Event().wait(60)
        case "die after the commit the first time" if once_only(event):
            transaction.on_commit(die)


@shared_task(bind=True, name="scaleout.events.tests.tasks.note")
def note(self: Task[Any, Any], label: str, again: float = 0) -> None:
    """Write down which try this is. `again`: seconds after which to try once more, the first
    time.
    """
    with connections["default"].cursor() as cursor:
        cursor.execute(f"INSERT INTO {TABLE} (label) VALUES (%s)", [f"{label} {self.request.retries}"])  # noqa: S608
    if again and not self.request.retries:
        raise self.retry(countdown=again)
