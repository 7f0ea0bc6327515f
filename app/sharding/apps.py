"""Watch the connections to the shards, and check the models."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created


class ShardingConfig(AppConfig):
    """The toolkit as an application."""

    name = "sharding"

    def ready(self) -> None:
        """Connect the signals and register the checks."""
        from sharding.checks import check_models  # noqa: PLC0415 - they need the models
        from sharding.transactions import watch  # noqa: PLC0415

        register(check_models, Tags.models)
        connection_created.connect(watch, dispatch_uid="sharding.watch")
