"""Problems as an application: it holds a check."""

from __future__ import annotations

from django.apps import AppConfig

from scaleout.problems.conf import conf


class ProblemsConfig(AppConfig):
    """The package as an application."""

    name = "scaleout.problems"

    def ready(self) -> None:
        """Register the check of the settings."""
        conf.register()
