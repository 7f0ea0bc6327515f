"""A row, a row and an event that tells of it, and events that go through one worker."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial
from itertools import count
from typing import Any

from celery import Celery
from django.conf import settings
from django.db import connections, transaction
from scaleout.events import sending
from scaleout.events.event import Event
from scaleout.events.inbox import consumer
from scaleout.events.models import Outbox
from scaleout.events.outbox import publish

from programs.prepare import prepare as prepare_tables
from programs.serve import Operation, serve

EVENT = "row_made"
EACH = 200  # events that are waited for at once
PATIENCE = 20.0  # seconds for these
_numbers = count()
_worker: list[subprocess.Popen[bytes]] = []

app = Celery("bench", set_as_current=False, include=["scaleout.events.tasks"])  # where the worker's own answers go
app.conf.update(
    broker_url=settings.QUEUE_URL,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    CELERY_DB_REUSE_MAX=sys.maxsize,  # as in the stack (app/config/celery.py)
)


@consumer()
def handle(event: Event) -> None:
    """The least that an effect can be."""
    _insert()


def _insert() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO bench_row (text) VALUES ('row')")


def prepare() -> None:
    """Make the table too."""
    prepare_tables()
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE bench_row (id bigserial PRIMARY KEY, text text)")


def insert() -> int:
    """One row in a transaction."""
    with transaction.atomic():
        _insert()
    return 1


def tell(*, send: bool = True) -> int:
    """One row, and an event that tells of it; without `send` as while the broker is away."""
    with transaction.atomic():
        _insert()
        publish(EVENT, aggregate=f"row:{next(_numbers)}", text="row")
        if not send:
            connections["default"].run_on_commit = []
    return 1


def through() -> int:
    """EACH events, from the transaction to the producer's knowing that their effect is there."""
    for _ in range(EACH):
        tell()
    until = time.monotonic() + PATIENCE
    pause = threading.Event()
    while Outbox.objects.using("default").exists():
        if time.monotonic() > until:
            raise TimeoutError("the worker does not get done with its events")
        pause.wait(0.002)
    return EACH


def work() -> None:
    """Delete the events so far, and start a worker with one process."""
    with connections["default"].cursor() as cursor:
        cursor.execute("TRUNCATE events_outbox, events_inbox, bench_row")
    with app.connection_for_write() as broker:
        channel: Any = broker.default_channel  # of the transport for Redis
        channel.client.delete("celery")
    code = (
        "import django; django.setup(); from programs.events import app;"
        " app.set_default(); app.worker_main(['worker', '--concurrency=1', '--queues=celery', '--loglevel=ERROR',"
        " '--without-gossip', '--without-mingle', '--without-heartbeat'])"
    )
    _worker.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL))


# No worker takes what `tell` sends; a full queue would get no more.
sending.FULL = 1_000_000_000

write = partial(tell, send=False)
OPERATIONS: dict[str, Operation] = {"insert": insert, "write": write, "tell": tell, "through": through}


def main() -> None:
    """Serve the harness."""
    app.set_default()
    serve(OPERATIONS, prepare, calls={"work": work})
