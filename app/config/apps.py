"""Make the Celery application the current one in every process, so that `shared_task` finds its
broker. Connect the cache's invalidations to the CDN's purges: neither package imports the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig
from scaleout.caching import invalidated
from scaleout.cdn import purge


class ProjectConfig(AppConfig):
    """The project as an application: it holds the command `prepare`."""

    name = "config"

    def ready(self) -> None:
        """Import the Celery application, and connect the cache to the CDN."""
        from config import celery  # noqa: F401, PLC0415 - it reads the settings, which are complete only here

        invalidated.connect(_purge, dispatch_uid="cdn")


def _purge(tags: Iterable[str], **_: Any) -> None:
    purge(*tags)
