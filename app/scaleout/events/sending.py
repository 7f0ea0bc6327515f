"""Give a message to the broker: soon, or not at all, and without an error. What was not sent is
sent by the relay.

Celery's own ways are made for a sender that has nothing better to do than to wait: kombu tries to
connect for ever unless `max_retries` says how often, and a Redis that has stopped to answer is
waited for as long as its time-outs say. A request must not pay for that after its commit. So this
has connections of its own with short time-outs and without second tries, and leaves the broker
alone for a moment after a failure.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery, current_app
from kombu import Producer
from kombu.pools import producers

from scaleout.base import Breaker
from scaleout.events import metrics
from scaleout.events.conf import conf

CONNECT, ANSWER = 0.25, 0.5  # seconds; the broker is on the same network
PAUSE = 2.0  # seconds after a failure until one caller of this process tries again
# Messages in a queue beyond which no event is sent to it: its consumer has enough to do, what waits
# there would be sent once more for each pause that passes, and the broker's memory is for all
# queues.
FULL = 500
MANY = 100  # the same for a queue of many: a single event of the same aggregate waits for these
SEEN = 1.0  # seconds for which a sender believes the length that was seen
_OPTIONS = {
    "socket_connect_timeout": CONNECT,
    "socket_timeout": ANSWER,
    "max_retries": 0,  # of kombu's connecting; without it that never ends
}

log = logging.getLogger(__name__)


_breaker = Breaker(PAUSE)
_lengths: dict[str, tuple[float, int | None]] = {}  # by queue: when it was seen


def send(task: str, queue: str | None = None, headers: dict[str, str] | None = None, **arguments: Any) -> bool:
    """Send the task with this name to `queue`, by default its own; return whether the broker has
    it.

    `headers`: of the message, beside Celery's.

    Raises nothing, and takes CONNECT + ANSWER seconds at most, twice that where a connection has to
    be made first.
    """
    return deliver(current_app, task, (), arguments, {"queue": queue or queue_of(task), "headers": headers})


def deliver(app: Celery, task: str, args: Sequence[Any], arguments: dict[str, Any], options: dict[str, Any]) -> bool:
    """Do as `send`, with any options of `Celery.send_task`."""
    if not _breaker.allows():
        metrics.unsent.inc()
        return False
    try:
        with _producer() as producer:
            app.send_task(task, args, arguments, producer=producer, retry=False, **options)
    except Exception as error:  # whatever it is: the change is committed, and the relay sends what tells of it
        _breaker.failed()
        metrics.unsent.inc()
        log.warning("not sent: %s: %s: %s", task, type(error).__name__, error)
        return False
    _breaker.worked()
    return True


def queue_of(task: str) -> str:
    """Return the queue that the task with this name goes to."""
    return str(current_app.amqp.router.route({}, task)["queue"].name)


def queue_for(consumer: str, *, bulk: bool) -> str:
    """Return the queue of the events for `consumer`: of the single ones, or of the many
    (`bulk`).
    """
    return _of_many(queue_of(consumer)) if bulk else queue_of(consumer)


def answers_of(*, bulk: bool) -> str:
    """Return the queue in which this service's workers are told what became of its events."""
    queue = conf().queue
    return _of_many(queue) if bulk else queue


def _of_many(queue: str) -> str:
    """Return the queue beside `queue`, "<service>.<kind>", for what may wait. A name without a dot
    stands for all.
    """
    service, _, _ = queue.rpartition(".")
    return f"{service}.bulk" if service else queue


def length(queue: str) -> int | None:
    """Return how many messages of `queue` no worker has taken yet; None if the broker does not
    say.
    """
    if not _breaker.allows():
        return None
    try:
        with _producer() as producer:
            channel: Any = producer.channel  # of the transport for Redis
            count = int(channel.client.llen(queue))
    except Exception as error:  # as above
        _breaker.failed()
        log.warning("the length of %s is not known: %s: %s", queue, type(error).__name__, error)
        return None
    _breaker.worked()
    return count


def waiting(queue: str, seen: float = 0.0) -> int | None:
    """Return the length of `queue` as it was at most `seen` seconds ago; None if the broker does
    not say.
    """
    at, count = _lengths.get(queue, (float("-inf"), None))
    if time.monotonic() - at >= seen:
        count = length(queue)
        _lengths[queue] = time.monotonic(), count
    return count


def room(consumer: str, *, bulk: bool, seen: float = 0.0) -> int:
    """Return how many events for `consumer` may be sent now: none if the broker does not say, and
    of many none while the answers to earlier ones wait.
    """
    counts = [waiting(queue_for(consumer, bulk=bulk), seen)]
    if bulk:
        counts.append(waiting(answers_of(bulk=True), seen))
    most = MANY if bulk else FULL
    return max(0, min(0 if one is None else most - one for one in counts))


@contextmanager
def _producer() -> Iterator[Producer]:
    """Lend a producer; one whose connection has failed is not lent again."""
    connection = current_app.connection_for_write(transport_options=_OPTIONS)
    with producers[connection].acquire(block=True, timeout=ANSWER) as producer:
        yield producer
