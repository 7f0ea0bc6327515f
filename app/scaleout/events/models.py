"""The outbox and the inbox: tables of a database that produces events, and of one that consumes
them.
"""

from __future__ import annotations

from django.db import connections, models, router
from django.db.models import Func, Q, SmallIntegerField, TextField, Value
from django.db.models.functions import Cast, Now, NullIf


class Outbox(models.Model):
    """An event for one consumer. The consumer's confirmation deletes the row.

    It belongs to the database, not to a row: it is sent from where it was written, and stays true
    even if the changed row is deleted. A bucket moves to another shard only when none of its events
    is left here.
    """

    id = models.BigAutoField(primary_key=True, help_text="The order of the events of an aggregate.")
    event_id = models.UUIDField()
    name = models.TextField()
    aggregate = models.TextField()
    consumer = models.TextField(help_text="The task that receives it.")
    data = models.JSONField()
    headers = models.JSONField(default=dict, db_default={}, help_text="Of its message: which request it follows from.")
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(help_text="When it is sent again, unless the consumer has it by then.")
    sends = models.IntegerField(default=0, db_default=0, help_text="How many times it was given to the broker.")
    failures = models.IntegerField(default=0, db_default=0, help_text="How many times the consumer failed with it.")
    error = models.TextField(default="", db_default="", help_text="What the consumer said the last time.")
    parked_at = models.DateTimeField(null=True, help_text="When it was given up, until a person has looked at it.")
    bucket = models.SmallIntegerField(
        null=True,
        # Evaluated by the database at each INSERT, so that the release before fills it too.
        db_default=Cast(
            NullIf(
                Func(Value("sharding.bucket"), Value(True), function="current_setting", output_field=TextField()),
                Value(""),
            ),
            SmallIntegerField(),
        ),
        help_text="The session's setting `sharding.bucket`: which bucket its transaction was for. Null: none.",
    )

    bulk = models.BooleanField(default=False, db_default=False, help_text="One of many: single ones overtake it.")
    known = models.SmallIntegerField(
        default=0,
        db_default=0,
        help_text="0: it may be in the queue. 1: the queue was empty since. 2: it was heard of.",
    )

    class Meta:
        constraints = (models.UniqueConstraint(name="events_outbox_once", fields=["event_id", "consumer"]),)
        indexes = (
            models.Index(name="events_outbox_order", fields=["consumer", "aggregate", "id"]),
            # Used by the release before this one; the next one removes it.
            models.Index(name="events_outbox_due", fields=["due_at"], condition=Q(parked_at=None)),
            models.Index(
                name="events_outbox_claim", fields=["consumer", "bulk", "due_at"], condition=Q(parked_at=None)
            ),
            models.Index(name="events_outbox_parked", fields=["id"], condition=Q(parked_at__isnull=False)),
            models.Index(name="events_outbox_bucket", fields=["bucket", "id"]),
        )

    def __str__(self) -> str:
        """Return the event and its consumer."""
        return f"{self.name} of {self.aggregate} for {self.consumer}"


class Later(models.Model):
    """A task that the broker gets when it is due (later.py)."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(help_text="The task.")
    message = models.TextField(help_text="Its arguments and options, as kombu's JSON.")
    due_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        """Return the task and its time."""
        return f"{self.name} at {self.due_at:%Y-%m-%d %H:%M:%S}"


class InboxEntry(models.Model):
    """A record that a consumer has had the effect of an event, written in the effect's transaction.

    The base of every inbox. An inbox of sharded rows is sharded too, so that it moves with them.
    """

    consumer = models.TextField()
    event_id = models.UUIDField()
    received_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        """Return the event and its consumer."""
        return f"{self.event_id} for {self.consumer}"


class Inbox(InboxEntry):
    """The inbox of a database."""

    id = models.BigAutoField(primary_key=True)

    class Meta:
        constraints = (models.UniqueConstraint(name="events_inbox_once", fields=["consumer", "event_id"]),)


def databases(model: type[models.Model] = Outbox) -> list[str]:
    """Return the aliases of the databases of this process that have the table of `model`."""
    return [alias for alias in connections if router.allow_migrate_model(alias, model)]
