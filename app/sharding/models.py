"""The tables of the toolkit itself: the map in the context's own database, the buckets and the name in each shard."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class ShardMismatchError(Exception):
    """The database that answers is not the shard that it was taken for."""


class ShardIdentity(models.Model):
    """One row: the name of the shard that this database is.

    Two shards look alike from outside. A volume or a host name that was mixed up would put users on the
    wrong shard without a single error; so each shard says who it is, and is asked before it is used.
    """

    name = models.CharField(max_length=63, primary_key=True)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @classmethod
    def claim(cls, alias: str) -> None:
        """Name the database behind `alias` after it, or make sure that this is its name.

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
    """Which shard holds a bucket. Triggers give each change a new version of the map, whoever makes it."""

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
    """A bucket in the shard that holds it: whether it takes writes, and the body of the last id that it gave."""

    class State(models.TextChoices):
        """`active` takes reads and writes, `blocked` reads only; `incoming` is being copied, `moved` is left behind."""

        ACTIVE = "active"
        BLOCKED = "blocked"
        INCOMING = "incoming"
        MOVED = "moved"

    bucket = models.SmallIntegerField(primary_key=True)
    state = models.TextField(choices=State.choices, default=State.ACTIVE)
    last = models.BigIntegerField(default=0)

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="sharding_bucket_state", condition=Q(state__in=["active", "blocked", "incoming", "moved"])
            ),
            # Because of this index a change of the state locks the row FOR UPDATE, which waits for the writers' locks
            # FOR KEY SHARE (the fence); a new `last` locks it FOR NO KEY UPDATE, which does not.
            models.UniqueConstraint(name="sharding_bucket_with_state", fields=["bucket", "state"]),
        )

    def __str__(self) -> str:
        """Return the bucket and its state."""
        return f"bucket {self.bucket}: {self.state}"
