"""The gateway as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.gateway.conf import conf


class GatewayConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.gateway"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
