"""Metrics of a Celery worker: the duration of its tasks, and a port for Prometheus.

Each process of the pool counts in files of its own; the main process adds them up at a scrape, as
gunicorn's workers do.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from billiard import current_process
from celery import signals
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from scaleout.observability import metrics

PORT = 8010

log = logging.getLogger(__name__)

seconds = Histogram(
    "celery_task_seconds",
    "Seconds that a task ran, by how it ended.",
    ["task", "state"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0),
)


@signals.worker_process_init.connect(dispatch_uid="observability.slot")
def _use_slot(**_kwargs: Any) -> None:
    # A process that replaces another one has its number, and continues its counts.
    metrics.use_slot(str(current_process().index))  # type: ignore[attr-defined]  # the pool gives it one


@signals.task_prerun.connect(dispatch_uid="observability.begin")
def _begin(task: Any, **_kwargs: Any) -> None:
    task.request.began = time.perf_counter()


@signals.task_postrun.connect(dispatch_uid="observability.end")
def _end(task: Any, state: str | None, **_kwargs: Any) -> None:
    began = getattr(task.request, "began", None)
    if began is not None:
        seconds.labels(task.name, state or "LOST").observe(time.perf_counter() - began)


@signals.worker_ready.connect(dispatch_uid="observability.serve")
def _serve(**_kwargs: Any) -> None:
    """Serve the metrics, if the entry script has made a directory for the files."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    try:
        start_http_server(PORT, registry=registry)
    except OSError as error:  # a worker without metrics still works
        log.error("metrics port %d not opened: %s", PORT, error)
