"""Bring every database up to date: what the one-shot container `migrate` runs at each start."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from sharding.models import ShardIdentity, ShardMismatchError

# Any number will do, as long as nothing else uses it. Held for the session, in the first database.
LOCK = 7_241_001


class Command(BaseCommand):
    """Migrate each database where there is something to do, then load the demo catalogue."""

    help = "Migrate every database and load the demo catalogue. Quick when there is nothing to do."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run under a lock, so that two at once (two `make up`) do not trip over each other."""
        started = time.monotonic()
        with connections["default"].cursor() as cursor:
            cursor.execute("SET lock_timeout = '120s'")
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for alias in settings.DATABASES:
            self._migrate(alias)
        call_command("load_demo")
        self.stdout.write(f"ready after {time.monotonic() - started:.1f} s")

    def _migrate(self, alias: str) -> None:
        executor = MigrationExecutor(connections[alias])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write(f"migrating {alias}")
            call_command("migrate", database=alias, interactive=False, verbosity=0)
        if "sharding" in settings.DATABASE_APPS[alias]:
            try:
                ShardIdentity.claim(alias)
            except ShardMismatchError as error:
                raise CommandError(str(error)) from error
