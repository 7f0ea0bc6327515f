"""The same tables twice: over shards, and in one plain database."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections, models

from scaleout.sharding.base import ShardedModel
from scaleout.sharding.fence import FenceTable

PLAIN = "plain"  # the alias of the plain database
FIRST_ID = 10**9  # of the plain tables: no other number of a test is as large


class AuthorFields(models.Model):
    """What both authors have. `rank` names a row: each row of a test has another one, and it never
    changes.
    """

    rank = models.IntegerField()
    name = models.TextField()
    score = models.IntegerField(null=True)

    class Meta:
        abstract = True


class BookFields(models.Model):
    """The fields of both books."""

    rank = models.IntegerField()
    title = models.TextField()
    pages = models.IntegerField(null=True)

    class Meta:
        abstract = True


class LeafFields(models.Model):
    """The fields of both leaves."""

    rank = models.IntegerField()
    number = models.IntegerField(default=0)

    class Meta:
        abstract = True


class CoverFields(models.Model):
    """The fields of both covers."""

    rank = models.IntegerField()
    colour = models.TextField()

    class Meta:
        abstract = True


class PlainModel(models.Model):
    """The base of the plain tables."""

    id = models.BigAutoField(primary_key=True)

    class Meta:
        abstract = True


class ShardAuthor(ShardedModel, AuthorFields):
    """Begins a bucket."""

    class Meta:
        app_label = "sharding"
        managed = False


class ShardBook(ShardedModel, BookFields):
    """Belongs to an author; may be followed by another book of the same one."""

    shard_key = "author_id"
    author = models.ForeignKey(ShardAuthor, models.CASCADE, related_name="books")
    sequel = models.ForeignKey("self", models.SET_NULL, null=True, related_name="prequels")

    class Meta:
        app_label = "sharding"
        managed = False
        constraints = (models.UniqueConstraint(name="shardbook_title", fields=["author", "title"]),)


class ShardLeaf(ShardedModel, LeafFields):
    """Belongs to a book."""

    shard_key = "book_id"
    book = models.ForeignKey(ShardBook, models.CASCADE, related_name="leaves")

    class Meta:
        app_label = "sharding"
        managed = False


class ShardCover(ShardedModel, CoverFields):
    """The one of a book."""

    shard_key = "book_id"
    book = models.OneToOneField(ShardBook, models.CASCADE, related_name="cover")

    class Meta:
        app_label = "sharding"
        managed = False


class PlainAuthor(PlainModel, AuthorFields):
    """The twin."""

    class Meta:
        app_label = "sharding"
        managed = False


class PlainBook(PlainModel, BookFields):
    """The twin."""

    author = models.ForeignKey(PlainAuthor, models.CASCADE, related_name="books")
    sequel = models.ForeignKey("self", models.SET_NULL, null=True, related_name="prequels")

    class Meta:
        app_label = "sharding"
        managed = False
        constraints = (models.UniqueConstraint(name="plainbook_title", fields=["author", "title"]),)


class PlainLeaf(PlainModel, LeafFields):
    """The twin."""

    book = models.ForeignKey(PlainBook, models.CASCADE, related_name="leaves")

    class Meta:
        app_label = "sharding"
        managed = False


class PlainCover(PlainModel, CoverFields):
    """The twin."""

    book = models.OneToOneField(PlainBook, models.CASCADE, related_name="cover")

    class Meta:
        app_label = "sharding"
        managed = False


SHARDED: dict[str, type[ShardedModel]] = {
    "Author": ShardAuthor,
    "Book": ShardBook,
    "Leaf": ShardLeaf,
    "Cover": ShardCover,
}
TWINS: dict[str, type[PlainModel]] = {
    "Author": PlainAuthor,
    "Book": PlainBook,
    "Leaf": PlainLeaf,
    "Cover": PlainCover,
}
NAMES = [model._meta.db_table for model in SHARDED.values()]


class PlainRouter:
    """Send the twins to the plain database."""

    def db_for_read(self, model: type[models.Model], **_hints: Any) -> str | None:
        """Return its alias."""
        return PLAIN if issubclass(model, PlainModel) else None

    db_for_write = db_for_read


def add_plain() -> None:
    """Add the alias: Django's own engine on the database of the alias `default`."""
    connections.databases[PLAIN] = connections["default"].settings_dict | {"ENGINE": "django.db.backends.postgresql"}


def remove_plain() -> None:
    """Remove the alias."""
    connections[PLAIN].close()
    del connections[PLAIN]
    del connections.databases[PLAIN]


def make_shard_tables() -> None:
    """Make the sharded tables, with fences."""
    for alias in settings.SHARDING["SHARDS"].values():
        with connections[alias].schema_editor() as editor:
            for model in SHARDED.values():
                editor.create_model(model)
        with connections[alias].schema_editor() as editor:
            for model in SHARDED.values():
                for statement in FenceTable(model._meta.db_table, model.shard_key).statements(editor):
                    editor.execute(statement)


def drop_shard_tables() -> None:
    """Drop them."""
    for alias in settings.SHARDING["SHARDS"].values():
        _run(alias, f"DROP TABLE {', '.join(NAMES)}")


def empty_shard_tables() -> None:
    """Delete all rows."""
    for alias in settings.SHARDING["SHARDS"].values():
        _run(alias, f"TRUNCATE {', '.join(NAMES)}")


def make_plain_tables() -> None:
    """Make the twins, with ids of their own."""
    with connections[PLAIN].schema_editor() as editor:
        for twin in TWINS.values():
            editor.create_model(twin)
    for number, twin in enumerate(TWINS.values(), 1):
        _run(PLAIN, f"ALTER TABLE {twin._meta.db_table} ALTER id RESTART WITH {number * FIRST_ID}")


def drop_plain_tables() -> None:
    """Drop them."""
    _run(PLAIN, f"DROP TABLE {', '.join(twin._meta.db_table for twin in TWINS.values())}")


def _run(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
