"""`manage.py tasks dead|resend|drop`: show, resend or drop the dead letters of a worker's
queues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from scaleout.broker.transport import COUNT
from shop.services import context

SHOWN = 1000  # the newest; each has killed five processes


class Command(BaseCommand):
    """The dead letters of the queues of the worker in whose container it runs."""

    help = "Show the dead letters: tasks that kept killing their processes. Resend or drop them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the action, and ids for it."""
        parser.add_argument("action", choices=["dead", "resend", "drop"])
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of tasks; none: resend all")

    def handle(self, *_args: Any, action: str, ids: list[str], **_options: Any) -> None:
        """Show, resend or drop."""
        if action == "drop" and not ids:
            raise CommandError("name the ids to drop: a dropped task is lost")
        aside = f"{context(settings.SERVICE)}.dead"
        with current_app.connection_for_write() as connection:
            channel: Any = connection.default_channel  # of the Redis transport
            client = channel.client
            count = 0
            for raw, message in _read(client.lrange(aside, 0, SHOWN - 1), ids):
                if action == "dead":
                    self._show(message)
                    count += 1
                else:
                    count += _settle(client, aside, raw, message, again=action == "resend")
            if ids and not count:
                raise CommandError("none of these ids is a dead letter here")
            self.stdout.write(f"{action}: {client.llen(aside) if action == 'dead' and not ids else count}")

    def _show(self, message: dict[str, Any]) -> None:
        headers, where = message["headers"], message["properties"]["delivery_info"]["routing_key"]
        arguments = f"{headers.get('argsrepr', '')} {headers.get('kwargsrepr', '')}"[:200]
        self.stdout.write(
            f"{headers['id']} {headers['task']} of {where}, given back {headers[COUNT]} times: {arguments}"
        )


def _read(raws: list[bytes], ids: list[str]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for raw in raws:
        message = json.loads(raw)
        if not ids or message["headers"].get("id") in ids:
            yield raw, message


def _settle(client: Any, aside: str, raw: bytes, message: dict[str, Any], *, again: bool) -> int:
    """Remove a message, or move it to its queue; return 1, or 0 if another command was first."""
    del message["headers"][COUNT]
    message["headers"].pop("redelivered", None)
    message["properties"]["delivery_info"].pop("redelivered", None)
    queue = message["properties"]["delivery_info"]["routing_key"]

    def settle(pipe: Any) -> int:
        """Do both in one transaction, if the message still exists."""
        there = raw in pipe.lrange(aside, 0, -1)
        pipe.multi()
        if there:
            pipe.lrem(aside, 1, raw)
            if again:
                pipe.lpush(queue, json.dumps(message))
        return int(there)

    return int(client.transaction(settle, aside, value_from_callable=True))
