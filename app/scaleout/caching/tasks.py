"""A task for beat that warms the cache."""

from __future__ import annotations

from celery import shared_task

from scaleout.caching.warming import warm


@shared_task(name="caching.warm")
def warm_cache() -> None:
    """Compute values that expire before the next round. A task may take 20 s."""
    warm(seconds=12.0)
