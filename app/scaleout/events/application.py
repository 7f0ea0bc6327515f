"""The Celery application of a project whose tasks may be due later."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from celery.utils.time import maybe_make_aware
from django.db import DatabaseError, InterfaceError
from kombu.utils.uuid import uuid

log = logging.getLogger(__name__)


class Application(Celery):
    """A Celery application whose tasks run once, with any delay."""

    @property
    def longest(self) -> timedelta:
        """Return how long a worker may hold a task: half of the visibility time-out.

        The other half is for the wait for a process.
        """
        return timedelta(seconds=self.conf.broker_transport_options["visibility_timeout"] / 2)

    def send_task(  # type: ignore[override]  # the stub names each option
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send the task, or keep it until it is due, in the open transaction of `default` if any.

        Raises django.db.Error if it cannot be kept. A retry is sent early in that case: Celery
        would lose it.
        """
        eta = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        wait = self._wait(countdown, eta)
        if wait > self.longest:
            task_id = options.pop("task_id", None) or uuid()
            from scaleout.events.later import keep_task  # noqa: PLC0415 - the application is made before Django has its models

            try:
                keep_task(wait, name, args, kwargs, options | {"task_id": task_id})
            except (DatabaseError, InterfaceError) as error:
                if not options.get("retries"):
                    raise
                log.warning("retry of %s sent early: not kept until due: %s", name, " ".join(str(error).split()))
                options, countdown, eta = options | {"task_id": task_id}, self.longest.total_seconds(), None
            else:
                return self.AsyncResult(task_id)
        return super().send_task(name, args, kwargs, countdown, eta, **options)

    def _wait(self, countdown: float | None, eta: datetime | None) -> timedelta:
        return timedelta(seconds=countdown or 0) if eta is None else maybe_make_aware(eta, self.timezone) - self.now()
