"""Sharded tables for the tests of the toolkit: authors, their books, the pages of a book."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from django.conf import settings
from django.db import connections, models, transaction

from scaleout.sharding import shard_map
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.by_user import ByUser
from scaleout.sharding.fence import FenceTable
from scaleout.sharding.ids import BUCKETS, take


class AuthorManager(ByUser["Author"]):
    """With the names of textbooks."""


class Author(ShardedModel):
    """Begins a bucket."""

    name = models.TextField()

    objects: ClassVar[AuthorManager] = AuthorManager()

    class Meta:
        app_label = "sharding"
        managed = False
        db_table = "author"


class Book(ShardedModel):
    """Belongs to an author."""

    shard_key = "author_id"
    author_id = models.BigIntegerField()
    title = models.TextField()
    leaves: models.Manager[Leaf]

    class Meta:
        app_label = "sharding"
        managed = False
        db_table = "book"
        constraints = (models.UniqueConstraint(name="title", fields=["author_id", "title"]),)


class Leaf(ShardedModel):
    """Belongs to a book."""

    shard_key = "book_id"
    book = models.ForeignKey(Book, models.CASCADE, related_name="leaves")
    number = models.IntegerField()

    class Meta:
        app_label = "sharding"
        managed = False
        db_table = "leaf"


TABLES = {Author: "id", Book: "author_id", Leaf: "book_id"}


def make_tables() -> None:
    """Make the tables on every shard, fenced."""
    for alias in settings.SHARDING["SHARDS"].values():
        with connections[alias].schema_editor() as editor:
            for model in TABLES:
                editor.create_model(model)
        with connections[alias].schema_editor() as editor:
            for model, key in TABLES.items():
                fence = FenceTable(model._meta.db_table, key)
                for statement in fence.statements(editor):
                    editor.execute(statement)


def empty_tables() -> None:
    """Take all rows out."""
    for alias in settings.SHARDING["SHARDS"].values():
        with connections[alias].cursor() as cursor:
            cursor.execute("TRUNCATE author, book, leaf")


def author_on(number: int, name: str = "writer") -> Author:
    """Return a new author on shard `number`."""
    bucket = shard_map.current().buckets_of(number)[0]
    alias = settings.SHARDING["SHARDS"][number]
    return Author.objects.create(id=take(alias, bucket)[0], name=name)


def move(bucket: int, target: int) -> None:
    """Move an empty or already copied bucket as the mover does, without its waits."""
    known = shard_map.current()
    source = known.number(bucket)
    set_state(known.shards[source], bucket, "moved")
    with transaction.atomic(using=known.alias):
        shard_map.reassign(known.alias, [bucket], source, target)
    with connections[known.shards[source]].cursor() as cursor:
        cursor.execute("SELECT base + last_value FROM sharding_bucket, sharding_ids WHERE bucket = %s", [bucket])
        reached = cursor.fetchone()[0]
    with connections[known.shards[target]].cursor() as cursor:
        cursor.execute(
            "INSERT INTO sharding_bucket (bucket, state, last, base) VALUES (%s, 'active', 0, %s)"
            " ON CONFLICT (bucket) DO UPDATE SET state = 'active', base = EXCLUDED.base",
            [bucket, reached],
        )


def waits_for_a_lock(alias: str) -> bool:
    """Return whether a statement waits for a lock; asked over the connection of `alias`.

    Not from pg_stat_activity: a transaction sees that as it was at its first look.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT FROM pg_locks WHERE NOT granted LIMIT 1")
        return cursor.fetchone() is not None


def set_state(alias: str, bucket: int, state: str) -> None:
    """Set the state of a bucket on a shard."""
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE sharding_bucket SET state = %s WHERE bucket = %s", [state, bucket])


def every_bucket() -> Iterator[tuple[str, int]]:
    """Yield the alias and the number of each bucket."""
    for bucket in range(BUCKETS):
        yield shard_map.current().alias_of(bucket), bucket
