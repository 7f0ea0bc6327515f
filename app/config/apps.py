"""Make the Celery application the current one in every process, so that `shared_task` finds its
broker; and let the CDN hear what the cache hears: neither package knows the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig
from scaleout.caching import invalidated
from scaleout.cdn import purge


class ProjectConfig(AppConfig):
    """The project itself, as an application: it holds the command `prepare`."""

    name = "config"

    def ready(self) -> None:
        """Import the Celery application, and tie the cache to the CDN."""
        from config import celery  # noqa: F401, PLC0415 - it reads the settings, which are complete only now

        invalidated.connect(_purge, dispatch_uid="cdn")


def _purge(tags: Iterable[str], **_: Any) -> None:
    purge(*tags)
