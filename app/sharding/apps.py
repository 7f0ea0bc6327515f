"""Watch the connections to the shards."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from sharding.transactions import watch


class ShardingConfig(AppConfig):
    """The toolkit as an application."""

    name = "sharding"

    def ready(self) -> None:
        """Connect the signals."""
        connection_created.connect(watch, dispatch_uid="sharding.watch")
