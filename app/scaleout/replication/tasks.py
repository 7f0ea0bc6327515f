"""A task reads what the one who sent it has written, and the tasks that it sends see what it has
written.

Its connections go back to their pools before and after it, as a request's do. Celery's own way is
to close them with their pools, so that each task logs in anew; `CELERY_DB_REUSE_MAX = sys.maxsize`
in Celery's settings puts it off for ever.
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
    state.current().done.repeatable = False  # a second try of this request would send it twice
    if after := causal.position():
        headers[HEADER] = lsn.render(after)


@signals.task_prerun.connect(dispatch_uid="replication.prerun")
def _receive(task: Any, **_kwargs: Any) -> None:
    # The latter where the task is run eagerly.
    sent = getattr(task.request, HEADER, None) or (task.request.headers or {}).get(HEADER)
    try:
        after = lsn.parse(sent or "0/0")
    except ValueError:
        after = lsn.MAXIMUM  # the sender wrote something: the primary has it
    if task.request.is_eager:  # a part of its caller, which must see what it writes
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
    if not task.request.is_eager:  # that is a request's, which may be in the middle of reading
        close_old_connections()
