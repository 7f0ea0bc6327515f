"""The cache as an application: it holds the command `warm_cache`."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig

from scaleout.caching.conf import conf


class CachingConfig(AppConfig):
    """Register the task if Celery is installed."""

    name = "scaleout.caching"

    def ready(self) -> None:
        """Register the check, and import the task."""
        conf.register()
        if find_spec("celery"):
            from scaleout.caching import tasks  # noqa: F401, PLC0415 - not needed without Celery
