"""Events as an application: it holds their tables, a command and a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.events.conf import conf


class EventsConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.events"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
