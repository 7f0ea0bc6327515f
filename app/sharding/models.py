"""Each shard database knows its own name."""

from __future__ import annotations

from django.db import models


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
