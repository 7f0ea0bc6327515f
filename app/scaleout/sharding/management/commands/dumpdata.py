"""Django's dumpdata with a warning: without --database it reads one database, and no
sharded row.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.commands import dumpdata
from django.db import router

from scaleout.sharding.pruning import is_sharded, shard_aliases


class Command(dumpdata.Command):
    """Django's dumpdata."""

    def handle(self, *labels: str, **options: Any) -> None:
        """Dump, after a warning if a requested model is sharded and not in this database."""
        left_out = [
            model._meta.label
            for model in apps.get_models()
            if is_sharded(model)
            and (not labels or {model._meta.app_label, model._meta.label, model._meta.label_lower} & set(labels))
            and not router.allow_migrate_model(options["database"], model)
        ]
        if left_out:
            self.stderr.write(
                f"warning: {', '.join(left_out)} left out: their rows are in the shards. Dump each: --database with"
                f" {', '.join(sorted(shard_aliases()))}"
            )
        super().handle(*labels, **options)
