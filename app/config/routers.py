"""The tables that belong in each database."""

from __future__ import annotations

from typing import Any

from django.conf import settings


class OwnershipRouter:
    """Let a table be created only where it belongs (`settings.DATABASE_APPS`)."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_hints: Any) -> bool:
        """Return whether the table of a model lives in the database with the alias `db`.

        An application is named whole (`products`) or model by model (`sharding.bucket`). An
        operation that names no model runs wherever the application has any table.
        """
        here = settings.DATABASE_APPS.get(db, frozenset())
        if app_label in here:
            return True
        if model_name is None:
            return any(name.startswith(f"{app_label}.") for name in here)
        return f"{app_label}.{model_name}" in here
