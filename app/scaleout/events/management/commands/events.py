"""`manage.py events parked|resend|discard`: show, resend or discard events that could not be
delivered.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scaleout.events.models import Outbox, databases
from scaleout.events.outbox import discard, resend


class Command(BaseCommand):
    """The parked events in the outboxes of the service in whose container it runs."""

    help = "Show the parked events of this service, or let them go again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the action, and ids for it."""
        parser.add_argument("action", choices=["parked", "resend", "discard"])
        parser.add_argument("ids", nargs="*", type=UUID, metavar="ID", help="ids of events; none: resend all")

    def handle(self, *_args: Any, action: str, ids: list[UUID], **_options: Any) -> None:
        """Do it in every outbox."""
        if action == "discard" and not ids:
            raise CommandError("name the ids to discard: a discarded event is lost")
        if action == "parked":
            return self._show(ids)
        count = sum(self._apply(action, alias, ids) for alias in databases())
        if ids and not count:
            raise CommandError("none of these ids is a parked event here")
        self.stdout.write(f"{action}: {count}")
        return None

    def _apply(self, action: str, alias: str, ids: list[UUID]) -> int:
        if action == "resend":
            return resend(alias, ids or None)
        return discard(alias, ids)

    def _show(self, ids: list[UUID]) -> None:
        count = 0
        for alias in databases():
            outbox = Outbox.objects.using(alias)
            parked = outbox.filter(parked_at__isnull=False).order_by("id")
            for one in parked.filter(event_id__in=ids) if ids else parked.iterator():
                behind = outbox.filter(consumer=one.consumer, aggregate=one.aggregate, id__gt=one.id).count()
                count += 1
                self.stdout.write(
                    f"{one.event_id} {one.name} of {one.aggregate} for {one.consumer} in {alias},"
                    f" since {one.parked_at:%Y-%m-%d %H:%M:%S}, {behind} wait behind it: {one.error}"
                )
        self.stdout.write(f"parked: {count}")
