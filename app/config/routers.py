"""Which tables belong in which database."""

from __future__ import annotations

from typing import Any

from django.conf import settings


class OwnershipRouter:
    """Let an application be migrated only where it belongs (`settings.DATABASE_APPS`)."""

    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool:
        """Return whether the tables of `app_label` live in the database with the alias `db`."""
        return app_label in settings.DATABASE_APPS.get(db, frozenset())
