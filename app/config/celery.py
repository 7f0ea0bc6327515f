"""Celery: the application, its schedule, and the pulse that shows a stuck worker."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celery import signals
from celery.beat import PersistentScheduler
from django.conf import settings
from kombu import Queue
from scaleout import broker
from scaleout.cdn.purging import end as end_purging
from scaleout.events.application import Application
from scaleout.observability import tasks, worker  # noqa: F401 - adds request ids and metrics to tasks
from shop.services import OWNERS, QUEUES, SHOP, WORKERS, context, owner_of

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
broker.install()

PULSE = Path("/run/app/pulse")
PULSE_SECONDS = 5.0
RELAY_EXPIRES = 30.0  # seconds: longer than any task that may hold the only process
TIMEOUTS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0}

log = logging.getLogger(__name__)


def named(name: str) -> Queue:
    """Return a queue without a declared binding: a binding is a write, and not every sender may
    write it.
    """
    return Queue(name, routing_key=name, no_declare=True)


def own_queue(hostname: str) -> Queue:
    """Return the queue of one worker. Its name begins with the service, whose Redis user may use
    it.
    """
    return named(f"{settings.SERVICE}.{hostname}.dq")


app = Application("scale-out")
app.conf.update(
    broker_url=settings.QUEUE_URL,
    broker_connection_retry_on_startup=True,
    # A message whose worker died is delivered again after this many seconds: longer than any task
    # may wait behind another one, and run. Events do not wait for that: the relay resends them.
    broker_transport_options={
        **TIMEOUTS,
        **settings.QUEUE_OPTIONS,
        "socket_keepalive": True,
        "visibility_timeout": 60,
        "priority_steps": [0],
        # Messages taken and not yet done: one set for the workers of a service, closed to other
        # services.
        "unacked_key": f"unacked:{context(settings.SERVICE)}",
        "unacked_index_key": f"unacked_index:{context(settings.SERVICE)}",
        "unacked_mutex_key": f"unacked_mutex:{context(settings.SERVICE)}",
        "unacked_restore_throttle": 1,  # a look every ten seconds
        "queue_order_strategy": "scaleout.broker.transport:Ranked",
    },
    task_ignore_result=True,
    # A task is done when it has ended, not when it has begun: so a killed worker loses none.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # Seconds. A task that hangs is ended, so that it never blocks a worker for longer.
    task_soft_time_limit=20,
    task_time_limit=25,
    # A publish gives up in seconds. Requests do not publish this way: they use the outbox
    # (events/sending.py).
    task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    worker_hijack_root_logger=False,
    # A task that needs the databases of a context runs where they are: in that context's own
    # worker. Events do not wait behind tasks, which may take their time.
    task_default_queue=f"{SHOP}.tasks",
    task_routes={
        **{one: {"queue": f"{owner_of(one)}.events"} for some in settings.EVENTS["CONSUMERS"].values() for one in some},
        **{f"{one}.*": {"queue": f"{one}.tasks"} for one in WORKERS},
    },
    task_queues=[named(name) for name in QUEUES],
    # Only JSON is decoded, and a worker obeys no broadcast commands.
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    worker_enable_remote_control=False,
    worker_max_tasks_per_child=1000,
    CELERY_DB_REUSE_MAX=sys.maxsize,  # replication/tasks.py returns the connections
    timezone="UTC",
    beat_max_loop_interval=5,
    beat_scheduler="config.celery:Scheduler",
    beat_schedule_filename="/run/app/beat-schedule",
    beat_schedule={
        "clear-expired-sessions": {
            "task": "stateless.tasks.clear_expired_sessions",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "repair-directory": {
            "task": "users.tasks.repair_directory",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "tend-logins": {"task": "users.tasks.tend_logins", "schedule": 30.0, "options": {"expires": 30}},
        # Each service's own worker deletes old rows of the inboxes, because no other can open them.
        **{
            f"tidy-{name}": {
                "task": "events.tidy",
                "schedule": 300.0,
                "options": {"queue": f"{name}.tasks", "expires": 300.0},
            }
            for name in OWNERS
        },
        "finish-variants": {
            "task": "products.tasks.finish_variants",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "sweep-images": {"task": "products.tasks.sweep_images", "schedule": 600.0, "options": {"expires": 600}},
        "warm-cache": {"task": "caching.warm", "schedule": 60.0, "options": {"expires": 30}},
    },
)
app.autodiscover_tasks()


@app.task(name="config.pulse")
def pulse() -> None:
    """Show that this worker takes and runs tasks: the healthcheck reads the age of the file."""
    PULSE.touch()


def send_pulse(queue: Any) -> None:
    """Send to `queue` the tasks that a worker runs every few seconds.

    Among them is the relay, for events left in its outboxes: in its service's queue it would wait
    behind the whole backlog.
    """
    pulse.apply_async(queue=queue, expires=PULSE_SECONDS)
    app.tasks["events.relay"].apply_async(queue=queue, expires=RELAY_EXPIRES)


class Scheduler(PersistentScheduler):
    """The standard scheduler, which shows at each round of its loop that beat is alive."""

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Do one round."""
        PULSE.touch()
        return super().tick(*args, **kwargs)


@signals.celeryd_after_setup.connect
def read_own_queue(sender: str, instance: Any, **_kwargs: Any) -> None:
    """Let this worker also read a queue of its own, in turn with the others, for its pulse and
    relay.
    """
    instance.app.amqp.queues.select_add(own_queue(sender))


@signals.worker_ready.connect
def start_pulse(sender: Any, **_kwargs: Any) -> None:
    """Send this worker a pulse every few seconds, by the queue that only it reads.

    So the file grows old if any part is stuck: the connection to Redis, the consumer, or every
    process of the pool. A ping of the main process would notice none of these.
    """
    queue = own_queue(sender.hostname)

    def send() -> None:
        while True:
            try:
                send_pulse(queue)
            except Exception as error:  # the healthcheck reports any failure, and the worker reconnects by itself
                log.warning("pulse not sent: %s", error)
            time.sleep(PULSE_SECONDS)

    threading.Thread(target=send, name="pulse", daemon=True).start()


@signals.worker_process_shutdown.connect
def tell_the_edge(**_kwargs: Any) -> None:
    """Send the purges that wait: a process of the pool ends without Python's exit handlers."""
    end_purging(hurried=True)


@signals.setup_logging.connect
def keep_our_logging(**_kwargs: Any) -> None:
    """Keep logging as Django's settings have it: with a receiver here Celery does not set up its
    own.
    """
