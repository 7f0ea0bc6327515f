"""Identity as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.identity.conf import conf


class IdentityConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.identity"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
