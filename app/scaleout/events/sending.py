"""Send a message to the broker within a bounded time, or not at all, without raising. The relay
sends the rest.

Celery's own senders wait: kombu connects for ever unless `max_retries` is set, and a Redis that
hangs costs the whole of its time-outs. A request must not pay for that after its commit. So this
module has connections of its own with short time-outs and no retries, and a breaker that rests for
PAUSE after a failure.
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
# Messages in a queue beyond which no event is sent to it: its consumer is busy, a waiting message
# would be resent after each pause, and all queues share the broker's memory.
FULL = 500
MANY = 100  # the same for a bulk queue: a single event of the same aggregate waits for these
SEEN = 1.0  # seconds for which a sender uses the length that it has read
_OPTIONS = {
    "socket_connect_timeout": CONNECT,
    "socket_timeout": ANSWER,
    "max_retries": 0,  # of kombu's connect; without it kombu never gives up
}

log = logging.getLogger(__name__)


_breaker = Breaker(PAUSE)
_lengths: dict[str, tuple[float, int | None]] = {}  # by queue: when it was read, and the length


def send(task: str, queue: str | None = None, headers: dict[str, str] | None = None, **arguments: Any) -> bool:
    """Send the task with this name to `queue`, by default its own; return whether the broker has
    it.

    `headers`: of the message, beside Celery's. Raises nothing. Takes CONNECT + ANSWER seconds at
    most, twice that if it has to connect first.
    """
    return deliver(current_app, task, (), arguments, {"queue": queue or queue_of(task), "headers": headers})


def deliver(app: Celery, task: str, args: Sequence[Any], arguments: dict[str, Any], options: dict[str, Any]) -> bool:
    """Do what `send` does, with any options of `Celery.send_task`."""
    if not _breaker.allows():
        metrics.unsent.inc()
        return False
    try:
        with _producer() as producer:
            app.send_task(task, args, arguments, producer=producer, retry=False, **options)
    except Exception as error:  # any failure: the change is committed, and the relay resends its event
        _breaker.failed()
        metrics.unsent.inc()
        log.warning("message not sent: %s: %s: %s", task, type(error).__name__, error)
        return False
    _breaker.worked()
    return True


def queue_of(task: str) -> str:
    """Return the queue of the task with this name."""
    return str(current_app.amqp.router.route({}, task)["queue"].name)


def queue_for(consumer: str, *, bulk: bool) -> str:
    """Return the queue of the events for `consumer`: of single events, or of `bulk` ones."""
    return _of_many(queue_of(consumer)) if bulk else queue_of(consumer)


def answers_of(*, bulk: bool) -> str:
    """Return the queue in which this service's workers get the answers of consumers."""
    queue = conf().queue
    return _of_many(queue) if bulk else queue


def _of_many(queue: str) -> str:
    """Return the bulk queue beside `queue`, "<service>.<kind>". A name without a dot serves
    both.
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
            channel: Any = producer.channel  # of the Redis transport
            count = int(channel.client.llen(queue))
    except Exception as error:  # as above
        _breaker.failed()
        log.warning("length of %s not read: %s: %s", queue, type(error).__name__, error)
        return None
    _breaker.worked()
    return count


def waiting(queue: str, seen: float = 0.0) -> int | None:
    """Return the length of `queue`, at most `seen` seconds old; None if the broker does not say."""
    at, count = _lengths.get(queue, (float("-inf"), None))
    if time.monotonic() - at >= seen:
        count = length(queue)
        _lengths[queue] = time.monotonic(), count
    return count


def room(consumer: str, *, bulk: bool, seen: float = 0.0) -> int:
    """Return how many events for `consumer` may be sent now.

    None if the broker does not say; no bulk event while the answers to earlier ones wait.
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
