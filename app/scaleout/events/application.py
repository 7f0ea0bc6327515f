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
    """A Celery application whose tasks run once, however much later they are due."""

    @property
    def longest(self) -> timedelta:
        """How long a worker may hold a task: half of the visibility time-out, for it may wait for a
        process as well.
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
        """Send it, or keep it until it is due: then in the transaction that is open on `default`,
        if one is.

        Raises django.db.Error where it can't be kept. A retry is sent earlier than it asks for
        instead: Celery would lose it.
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
                log.warning("retry of %s sent early: it cannot be kept: %s", name, " ".join(str(error).split()))
                options, countdown, eta = options | {"task_id": task_id}, self.longest.total_seconds(), None
            else:
                return self.AsyncResult(task_id)
        return super().send_task(name, args, kwargs, countdown, eta, **options)

    def _wait(self, countdown: float | None, eta: datetime | None) -> timedelta:
        return timedelta(seconds=countdown or 0) if eta is None else maybe_make_aware(eta, self.timezone) - self.now()
