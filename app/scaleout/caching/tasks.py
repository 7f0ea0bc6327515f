"""Warming by beat."""

from __future__ import annotations

from celery import shared_task

from scaleout.caching.warming import warm


@shared_task(name="caching.warm")
def warm_cache() -> None:
    """Compute what expires before the next round. A task may take 20 s."""
    warm(seconds=12.0)
