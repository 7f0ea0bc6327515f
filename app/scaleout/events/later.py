"""Tasks that are due later: a table keeps each one until it is due, and then the broker gets it.

A worker holds a task with a `countdown` until then, and the broker gives a task that is held for
longer than its visibility time-out to another worker: the task would run once for each time-out
that passes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from kombu.utils.json import dumps, loads

from scaleout.events.conf import current_headers
from scaleout.events.models import Later
from scaleout.events.sending import deliver

AGAIN = timedelta(seconds=10)  # until a task that the broker did not take is tried again
# The fields that the sender needs and the message does not hold.
_OWN = ("producer", "publisher", "connection", "router", "result_cls", "task_type", "add_to_parent")


def keep_task(wait: timedelta, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
    """Keep a task until `wait` is over.

    Raises kombu.exceptions.EncodeError or TypeError for what JSON cannot hold.
    """
    options = {key: value for key, value in options.items() if key not in _OWN and value is not None}
    if "queue" in options:
        options["queue"] = getattr(options["queue"], "name", options["queue"])
    if isinstance(seconds := options.get("expires"), int | float):  # from now, not from when it is due
        options["expires"] = timezone.now() + timedelta(seconds=seconds)
    options["headers"] = current_headers() | (options.get("headers") or {})
    message = dumps({"args": list(args or ()), "kwargs": dict(kwargs or {}), "options": options})
    Later.objects.using("default").create(name=name, message=message, due_at=Now() + wait)


def send_due(alias: str) -> int:
    """Send the next tasks that are due in `alias`; return how many the broker took.

    Several relays share the work. One that is killed between the two lines sends its tasks once
    more: a task is delivered at least once.
    """
    with transaction.atomic(using=alias):
        due = Later.objects.using(alias).filter(due_at__lte=Now()).order_by("due_at")
        row = due.select_for_update(skip_locked=True).first()
        if row is None:
            return 0
        message = loads(row.message)
        if deliver(current_app, row.name, message["args"], message["kwargs"], message["options"]):
            row.delete()
            return 1
        row.due_at = Now() + AGAIN
        row.save(update_fields=["due_at"])
        return 0
