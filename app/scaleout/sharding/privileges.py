"""The privileges that the application's role loses on the toolkit's tables.

By default its owner lets it write to each new table (postgres/database.sql). A mistake in a view,
or an injection, must not be able to change which shard holds a bucket.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

# By table: the columns that it may update. It inserts and deletes nothing there, except into
# `INSERTED`.
GUARDED: dict[str, tuple[str, ...]] = {
    "django_migrations": (),
    "sharding_bucketmap": (),
    "sharding_mapversion": (),
    "sharding_move": (),
    "sharding_movebucket": (),
    "sharding_shardidentity": (),
    "sharding_bucket": ("last",),  # of the ids; the privilege also lets the fence lock the row
    "sharding_change": (),
}
INSERTED = {"sharding_change"}  # by the fence, as the writer's role


def restrict(alias: str) -> None:
    """Revoke from `<owner>_app` what it does not need in the database `alias`, opened by
    `<owner>_owner`.
    """
    role = sql.Identifier(settings.DATABASES[alias]["USER"].removesuffix("_owner") + "_app")
    # In one transaction: this runs at each `docker compose up`, and a writing application must not
    # be refused in between.
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
