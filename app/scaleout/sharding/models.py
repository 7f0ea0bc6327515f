"""The toolkit's own tables: the map in the context's database, the buckets and the name in each
shard.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ShardMismatchError(Exception):
    """The database that answers is not the expected shard."""


class ShardIdentity(models.Model):
    """One row: the name of the shard that this database is.

    Two shards look alike from outside. A swapped volume or host name would put users on the wrong
    shard without any error; so each shard has its name, which is read before the shard is used.
    """

    name = models.CharField(max_length=63, primary_key=True)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @classmethod
    def claim(cls, alias: str) -> None:
        """Name the database behind `alias` after it, or verify that it has this name.

        Raises ShardMismatchError if it has another one.
        """
        known = cls.objects.using(alias).first()
        if known is None:
            known, _ = cls.objects.using(alias).get_or_create(name=alias)
        if known.name != alias:
            raise ShardMismatchError(
                f"the database behind {alias} says that it is {known.name}: its volume or host is mixed up"
            )


class BucketMap(models.Model):
    """The shard of each bucket. Triggers give each change a new version of the map, by any
    client.
    """

    bucket = models.SmallIntegerField(primary_key=True)
    shard = models.SmallIntegerField()
    version = models.BigIntegerField(default=0, help_text="The version of the map in which this row last changed.")

    def __str__(self) -> str:
        """Return the bucket and its shard."""
        return f"bucket {self.bucket}: shard {self.shard}"


class MapVersion(models.Model):
    """One row: the version of the map."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """Return the version."""
        return f"version {self.version}"


class Bucket(models.Model):
    """A bucket in the shard that holds it: whether it takes writes, and the base of its ids."""

    class State(models.TextChoices):
        """`active` takes reads and writes, `blocked` reads only; `incoming` is being copied,
        `moved` is an old copy.
        """

        ACTIVE = "active"
        BLOCKED = "blocked"
        INCOMING = "incoming"
        MOVED = "moved"

    SHOWN = (State.ACTIVE, State.BLOCKED)

    bucket = models.SmallIntegerField(primary_key=True)
    state = models.TextField(choices=State.choices, default=State.ACTIVE)
    last = models.BigIntegerField(default=0)  # the release before makes ids from it
    base = models.BigIntegerField(null=True, help_text="What is added to the shard's sequence.")
    logged = models.BooleanField(default=False, db_default=False, help_text="Whether writes are noted in Change.")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="sharding_bucket_state", condition=Q(state__in=["active", "blocked", "incoming", "moved"])
            ),
            # Because of this index a change of the state (or of `logged`) locks the row FOR UPDATE,
            # which waits for the locks FOR KEY SHARE of writers (by the fence) and of new ids;
            # changes of other columns do not wait.
            models.UniqueConstraint(name="sharding_bucket_with_state", fields=["bucket", "state", "logged"]),
        )

    def __str__(self) -> str:
        """Return the bucket and its state."""
        return f"bucket {self.bucket}: {self.state}"


class Change(models.Model):
    """In each shard: a written row of a `logged` bucket. The fence logs it, and the mover copies it
    again.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(help_text="The table.")
    row = models.BigIntegerField()
    bucket = models.SmallIntegerField()

    class Meta:
        indexes = (models.Index(name="sharding_change_by_bucket", fields=["bucket"]),)

    def __str__(self) -> str:
        """Return the row."""
        return f"{self.name} {self.row}"


class Move(models.Model):
    """A move of buckets from one shard to another, and its step. Kept beside the map."""

    class Step(models.TextChoices):
        """In this order, except the last two. The bucket's writes are refused from `blocked` to
        `flipped`.
        """

        PLANNED = "planned"
        COPYING = "copying"
        CATCHING_UP = "catching_up"
        BLOCKED = "blocked"
        VERIFIED = "verified"
        FLIPPED = "flipped"
        ACTIVE = "active"
        CLEANED = "cleaned"
        ABORTING = "aborting"
        ABORTED = "aborted"

    id = models.BigAutoField(primary_key=True)
    source = models.SmallIntegerField()
    target = models.SmallIntegerField()
    step = models.TextField(choices=Step.choices, default=Step.PLANNED)
    created = models.DateTimeField(db_default=Now())
    blocked = models.DateTimeField(null=True, help_text="When it last began to refuse writes.")
    active = models.DateTimeField(null=True, help_text="When the target took them.")

    def __str__(self) -> str:
        """Return the buckets and shards of the move."""
        return f"move {self.pk}: shard {self.source} to {self.target}, {self.step}"


class MoveBucket(models.Model):
    """A bucket of a move."""

    id = models.BigAutoField(primary_key=True)
    move = models.ForeignKey(Move, models.CASCADE, related_name="buckets")
    bucket = models.SmallIntegerField()
    copied = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints = (models.UniqueConstraint(name="sharding_movebucket_once", fields=["move", "bucket"]),)

    def __str__(self) -> str:
        """Return the bucket."""
        return f"bucket {self.bucket}"
