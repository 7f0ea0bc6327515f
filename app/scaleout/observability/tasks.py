"""Give each task the ids of the request that sent it, and log how the task ended.

Beat sends tasks without a request: each of these has an id of its own.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery import signals

from scaleout.observability import trace
from scaleout.observability.logs import routine

log = structlog.stdlib.get_logger("task")


@signals.before_task_publish.connect(dispatch_uid="observability.publish")
def _send(headers: dict[str, Any], **_kwargs: Any) -> None:
    if "traceparent" not in headers:  # an event brings the headers of its request
        headers.update(trace.headers())


@signals.task_prerun.connect(dispatch_uid="observability.prerun")
def _begin(task: Any, **_kwargs: Any) -> None:
    request = task.request
    # The latter if the task runs eagerly.
    span = trace.follow(lambda name: request.get(name) or (request.headers or {}).get(name))
    request.hop = trace.enter(span), time.perf_counter()


@signals.task_postrun.connect(dispatch_uid="observability.postrun")
def _end(task: Any, task_id: str, state: str | None, **_kwargs: Any) -> None:
    token, began = task.request.hop
    if task.name not in routine() or state != "SUCCESS":
        milliseconds = round((time.perf_counter() - began) * 1000, 1)
        ended = state or "LOST"
        log.info(f"{task.name} {ended}", task=task.name, task_id=task_id, state=ended, milliseconds=milliseconds)
    trace.leave(token)
