"""Watch the connections to the shards, and check the models."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate

from scaleout.sharding.conf import conf


class ShardingConfig(AppConfig):
    """The toolkit as an application."""

    name = "scaleout.sharding"

    def ready(self) -> None:
        """Connect the signals and register the checks."""
        from scaleout.sharding.checks import check_models  # noqa: PLC0415 - they need the models
        from scaleout.sharding.fence import let_migrations_through, let_nothing_through  # noqa: PLC0415
        from scaleout.sharding.transactions import watch  # noqa: PLC0415

        register(check_models, Tags.models)
        conf.register()
        connection_created.connect(watch, dispatch_uid="sharding.watch")
        pre_migrate.connect(let_migrations_through, sender=self)
        post_migrate.connect(let_nothing_through, sender=self)
