"""Load shedding as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.shedding.conf import conf


class SheddingConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.shedding"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
