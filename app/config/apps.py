"""Make the Celery application the current one in every process, so that `shared_task` finds its broker."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The project itself, as an application: it holds the command `prepare`."""

    name = "config"

    def ready(self) -> None:
        """Import the Celery application."""
        from config import celery  # noqa: F401, PLC0415 - it reads the settings, which are complete only now
