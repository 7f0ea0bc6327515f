"""The fence: a table that takes writes only for the buckets that its shard holds.

A process may hold an old map for a moment, so the database decides. A trigger reads the bucket of
each written row and locks it until the transaction ends, so that no move can flip a bucket under a
writer. It refuses a bucket that is not active here with the SQLSTATE SB001, which arrives as
`BucketMoved`. Migrations may pass where that is safe: see `migrations/0005_migrations.py`.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

TRIGGER = "sharding_fence"
SQLSTATE = "SB001"
OTHER_BUCKET = "SB003"


class FenceTable(Operation):
    """Fence `table`. With `key`, the column of the shard key, a row's id must also be of its key's
    bucket.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, table: str, key: str = "id") -> None:
        self.table = table
        self.key = key

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing in Django's state."""

    def _here(self, app_label: str, editor: BaseDatabaseSchemaEditor, state: ProjectState) -> bool:
        models = [model for model in state.apps.get_models() if model._meta.db_table == self.table]
        if not models:
            raise ValueError(f"FenceTable: no model has the table {self.table} at this point of {app_label}")
        return router.allow_migrate_model(editor.connection.alias, models[0])

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create the trigger and the constraint in the table's database."""
        if not self._here(app_label, schema_editor, to_state):
            return
        for statement in self.statements(schema_editor):
            schema_editor.execute(statement)

    def statements(self, editor: BaseDatabaseSchemaEditor) -> list[str]:
        """Return the SQL that creates the fence."""
        table, key = editor.quote_name(self.table), editor.quote_name(self.key)
        trigger = (
            f"CREATE OR REPLACE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION sharding_fence()"
        )
        if self.key == "id":
            return [trigger]
        same_bucket = f"CHECK ((id >> 11) & 1023 = ({key} >> 11) & 1023)"
        return [trigger, f"ALTER TABLE {table} ADD CONSTRAINT {self._constraint(editor)} {same_bucket}"]

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Remove both."""
        if not self._here(app_label, schema_editor, from_state):
            return
        table = schema_editor.quote_name(self.table)
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {TRIGGER} ON {table}")
        schema_editor.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {self._constraint(schema_editor)}")

    def _constraint(self, editor: BaseDatabaseSchemaEditor) -> str:
        return editor.quote_name(f"{self.table}_same_bucket")

    def describe(self) -> str:
        """Return the text for `sqlmigrate` and `makemigrations`."""
        return f"Let {self.table} take writes only for the buckets that its shard holds"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the call that constructs this operation."""
        return type(self).__name__, [self.table], {} if self.key == "id" else {"key": self.key}


def unfenced(alias: str, tables: list[str]) -> list[str]:
    """Return those of `tables` that have no fence on the shard `alias`."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(quote_ident(name))"
            " AND tgname = %s AND tgenabled = 'O')",
            [tables, TRIGGER],
        )
        return [name for (name,) in cursor.fetchall()]


def let_migrations_through(using: str, **_kwargs: Any) -> None:
    """Open the fence for a session that migrates a shard, also for rows that a move has left or
    brings.
    """
    _set_migration(using, "on")


def let_nothing_through(using: str, **_kwargs: Any) -> None:
    """Close it again."""
    _set_migration(using, "off")


def _set_migration(alias: str, value: str) -> None:
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT set_config('sharding.migration', %s, false)", [value])
