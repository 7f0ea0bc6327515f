"""Observability as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.observability.conf import conf


class ObservabilityConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.observability"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
