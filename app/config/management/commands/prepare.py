"""Bring every database up to date: what the one-shot container `migrate` runs at each start."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor
from scaleout.sharding.fence import unfenced
from scaleout.sharding.fill import fill
from scaleout.sharding.models import ShardMismatchError
from scaleout.sharding.privileges import restrict
from scaleout.sharding.registry import models_on

# An arbitrary number that nothing else uses. Held for the session, in the first database.
LOCK = 7_241_001
PATIENCE = 120.0  # seconds to wait for another prepare, and for all databases
# Databases at once: on few servers, so that one slow database holds up no other and the servers are
# not flooded.
AT_ONCE = 8


class Command(BaseCommand):
    """Migrate all databases side by side where there is something to do, fill the maps, load the
    demo catalogue.
    """

    help = "Migrate every database and load the demo catalogue. Quick when there is nothing to do."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run under a lock, so that two at once (two `make up`) do not disturb each other."""
        started = time.monotonic()
        if homeless := _homeless():
            raise CommandError(f"no database is set for the tables of {', '.join(homeless)}: name them in SHOP_APPS")
        _wait_for(list(settings.DATABASE_APPS))
        _lock()
        # Not of settings.DATABASES: that names a database once more for each replica.
        aliases = list(settings.DATABASE_APPS)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="migrate") as pool:
            failures = [failure for failure in pool.map(self._migrate, aliases) if failure]
        if failures:
            raise CommandError("\n".join(failures))
        for alias, shards in settings.SHARDING["GROUPS"].items():
            self._fill(alias, shards)
        call_command("load_demo")
        call_command("load_demo_images")
        self.stdout.write(f"ready after {time.monotonic() - started:.1f} s")

    def _migrate(self, alias: str) -> str | None:
        """Migrate one database; return what went wrong. Runs in a thread, with connections of its
        own.
        """
        try:
            executor = MigrationExecutor(connections[alias])
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                self.stdout.write(f"migrating {alias}")
                call_command("migrate", database=alias, interactive=False, verbosity=0)
            restrict(alias)
        except Exception as error:
            return f"{alias}: {type(error).__name__}: {error}"
        finally:
            connections.close_all()
        return None

    def _fill(self, alias: str, shards: dict[int, str]) -> None:
        for shard in shards.values():
            if bare := unfenced(shard, [model._meta.db_table for model in models_on(shard)]):
                raise CommandError(f"{shard}: no fence around {', '.join(bare)}: add a FenceTable to their migrations")
        try:
            fill(alias, shards)
        except ShardMismatchError as error:
            raise CommandError(str(error)) from error


def _wait_for(aliases: list[str]) -> None:
    """Wait until each database accepts writes: after a restart of everything they start beside
    this.
    """
    until = time.monotonic() + PATIENCE
    for alias in aliases:
        while True:
            try:
                with connections[alias].cursor() as cursor:
                    cursor.execute("SELECT pg_is_in_recovery()")
                    if not cursor.fetchone()[0]:
                        break
                reason = "it is a standby"
            except (OperationalError, InterfaceError) as error:
                reason = " ".join(str(error).split())
            finally:
                connections[alias].close()
            if time.monotonic() > until:
                raise CommandError(f"{alias}: not ready after {PATIENCE:.0f} s: {reason}")
            time.sleep(0.5)  # a server that starts must not be flooded


def _lock() -> None:
    """Wait for the lock by polling.

    A query that waits holds a snapshot, and CREATE INDEX CONCURRENTLY in the other prepare would
    wait for the end of it.
    """
    until = time.monotonic() + PATIENCE
    with connections["default"].cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            if cursor.fetchone()[0]:
                return
            if time.monotonic() > until:
                raise CommandError(f"another prepare has held the lock for {PATIENCE:.0f} s: wait until it ends")
            time.sleep(0.2)


def _homeless() -> list[str]:
    """Return the labels of the applications whose tables no database is set for.

    Their migrations would be recorded as applied, so that setting a database later would not create
    the tables.
    """
    homes = {one.partition(".")[0] for labels in settings.DATABASE_APPS.values() for one in labels}
    tables = {one._meta.app_label for one in apps.get_models() if one._meta.managed and not one._meta.proxy}
    return sorted(tables - homes)
