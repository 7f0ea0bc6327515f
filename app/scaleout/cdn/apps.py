"""The rules for caches as an application: it holds the command `purge` and a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.cdn.conf import conf


class CdnConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.cdn"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
