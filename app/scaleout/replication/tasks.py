"""Pass positions through Celery: a task sees its sender's writes, and its own tasks see its writes.

Its connections return to their pools before and after it, as a request's do. Celery itself would
close them with their pools, so that each task logs in again; `CELERY_DB_REUSE_MAX = sys.maxsize` in
Celery's settings prevents that.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from django.db import close_old_connections

from scaleout.replication import causal, lsn, state

HEADER = "read_after"
INNER = "replication_trail"


@signals.before_task_publish.connect(dispatch_uid="replication.publish")
def _send(headers: dict[str, Any], **_kwargs: Any) -> None:
    state.current().done.repeatable = False  # a second try of this request would send the task twice
    if after := causal.position():
        headers[HEADER] = lsn.render(after)


@signals.task_prerun.connect(dispatch_uid="replication.prerun")
def _receive(task: Any, **_kwargs: Any) -> None:
    # The latter if the task runs eagerly.
    sent = getattr(task.request, HEADER, None) or (task.request.headers or {}).get(HEADER)
    try:
        after = lsn.parse(sent or "0/0")
    except ValueError:
        after = lsn.MAXIMUM  # the sender wrote: only the primary surely has it
    if task.request.is_eager:  # a part of its caller, which must see its writes
        after = max(after, state.current().after)
        setattr(task.request, INNER, state.enter(after=after, replica=None, host=None))
    else:
        state.begin(after)


@signals.task_postrun.connect(dispatch_uid="replication.postrun")
def _return(task: Any, **_kwargs: Any) -> None:
    inner = getattr(task.request, INNER, None)
    if inner is not None:
        state.leave(inner)


@signals.task_prerun.connect(dispatch_uid="replication.fresh")
@signals.task_postrun.connect(dispatch_uid="replication.done")
def _give_back(task: Any, **_kwargs: Any) -> None:
    if not task.request.is_eager:  # these connections are a request's, which may be reading
        close_old_connections()
