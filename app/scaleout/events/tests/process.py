"""A process of a test: `process.py work` is a Celery worker, `process.py publish` one that dies
after its commit.

NAMES: the databases by alias. BROKER: the URL of the broker.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import django
from django.conf import settings


def publish() -> None:
    """Commit a change and the event that tells of it, and be killed before it is sent."""
    from django.db import transaction  # noqa: PLC0415 - Django comes first

    from scaleout.events.outbox import publish  # noqa: PLC0415

    with transaction.atomic():
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        publish("happened", aggregate="crash", label="crash")


def work() -> None:
    """Work until killed."""
    from celery import current_app  # noqa: PLC0415 - Django comes first

    from scaleout.events.tests import tasks  # noqa: F401, PLC0415 - the consumers

    current_app.worker_main(["worker", "--concurrency", "1", "--queues", os.environ["QUEUES"], "--loglevel", "INFO",
                             "--without-gossip", "--without-mingle", "--without-heartbeat"])  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.test_settings")
    django.setup()
    for alias, name in json.loads(os.environ["NAMES"]).items():
        settings.DATABASES[alias]["NAME"] = name
    from celery import current_app

    from scaleout.events.tests.broker import route
    from scaleout.events.tests.conftest import EVENTS

    queues = os.environ.get("QUEUES", "celery").split(",")  # of answers, of events, of many
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": EVENTS, "QUEUE": queues[0]}
    route(queues[1] if queues[1:] else queues[0])
    current_app.conf.update(broker_url=os.environ["BROKER"], worker_direct=False, worker_lost_wait=1.0)
    {"publish": publish, "work": work}[sys.argv[1]]()
