"""Health as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.health.conf import conf


class HealthConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.health"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
