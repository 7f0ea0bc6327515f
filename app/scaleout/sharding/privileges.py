"""What the application's role may not do, although its owner lets it write to each new table
(postgres/database.sql).

A mistake in a view, or an injection, must not be able to say which shard holds what.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

# By table: the columns that it may update. Nothing is inserted or deleted there, except into
# `INSERTED`.
GUARDED: dict[str, tuple[str, ...]] = {
    "django_migrations": (),
    "sharding_bucketmap": (),
    "sharding_mapversion": (),
    "sharding_move": (),
    "sharding_movebucket": (),
    "sharding_shardidentity": (),
    "sharding_bucket": ("last",),  # of the ids; and who may update something may lock, as the fence does
    "sharding_change": (),
}
INSERTED = {"sharding_change"}  # by the fence, in the writer's name


def restrict(alias: str) -> None:
    """Take from `<owner>_app` what it does not need in the database `alias`, which `<owner>_owner`
    has opened.
    """
    role = sql.Identifier(settings.DATABASES[alias]["USER"].removesuffix("_owner") + "_app")
    # At once: this runs with each `docker compose up`, and in between an application that writes
    # would be refused.
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            if name not in GUARDED:
                continue
            table = sql.Identifier(name)
            rights = "UPDATE, DELETE" if name in INSERTED else "INSERT, UPDATE, DELETE"
            cursor.execute(sql.SQL("REVOKE {} ON {} FROM {}").format(sql.SQL(rights), table, role))
            for column in GUARDED[name]:
                grant = sql.SQL("GRANT UPDATE ({}) ON {} TO {}")
                cursor.execute(grant.format(sql.Identifier(column), table, role))
