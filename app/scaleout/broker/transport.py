"""Celery transports for Redis queues that survive a lost broker, a full broker and a failover.

They are kombu's transports with these additions: a lost or full broker ends no worker, a task that
keeps killing its process becomes a dead letter, and urgent queues are read first.

Behind Sentinels kombu's transport follows the primary. Replication is asynchronous, so a failover
can lose what the primary has acknowledged. Here a task is accepted when a replica has it too, and a
worker takes a message only when a replica knows of that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import time
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps
from kombu.utils.scheduling import priority_cycle
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.sentinel import SentinelManagedConnection

# The order in which a worker reads its queues, by the last part of their names. The release before
# used one name without a kind for all kinds.
RANKS = {"dq": 0, "answers": 1, "events": 2, "tasks": 3, "bulk": 4}
# Of these kinds a worker takes one message less than it has processes, so that one process is free
# for urgent messages.
SLOW = {"tasks", "bulk"}
# After so many deliveries a message becomes a dead letter: each has killed a process or a worker.
DELIVERIES = 5
COUNT = "deliveries"  # the name of the header
COPY = ("WAIT", 1, 1000)  # replicas, and milliseconds until they must have all that this connection has written

log = logging.getLogger(__name__)


def kind(queue: str) -> str:
    """Return the last part of a queue's name."""
    return queue.rpartition(".")[2]


def dead(queue: str) -> str | None:
    """Return the list of dead letters of `queue`; None for a worker's own queue.

    The messages of a worker's own queue repeat every few seconds, so none is kept.
    """
    service, _, last = queue.rpartition(".")
    return None if last == "dq" else f"{service or queue}.dead"


class Ranked(priority_cycle):  # type: ignore[type-arg]  # it takes none when it runs
    """The queues that a worker reads, the most urgent first."""

    closed: frozenset[str] = frozenset()  # kinds that the worker does not read now

    def consume(self, n: int) -> Any:
        """Return the queues to read now."""
        found = [one for one in self.items or () if kind(one) not in self.closed]
        return sorted(found, key=lambda one: RANKS.get(kind(one), RANKS["events"]))[:n]


# Messages taken off the queue when the connection broke: Redis may have them or not.
_taken: deque[tuple[Any, str, str]] = deque()


def put_back(put: Callable[[Any, str, str], None]) -> None:
    """Put these messages back. Two channels may do so at once, each with messages of its own.

    No lock: another thread could hold it while a process of the pool is forked.
    """
    while True:
        try:
            one = _taken.popleft()
        except IndexError:
            return
        try:
            put(*one)
        except BaseException:
            _taken.appendleft(one)
            raise


@contextmanager
def mutex(client: Any, name: str, expire: int) -> Iterator[None]:
    """Do what kombu's mutex does, without a script: no user of the queue may run one. Raises
    MutexHeld.
    """
    mine = uuid4().hex
    if not client.set(name, mine, nx=True, ex=expire):
        raise redis.MutexHeld
    try:
        yield
    finally:

        def release(pipe: Any) -> None:
            held = pipe.get(name) == mine.encode()
            pipe.multi()
            if held:
                pipe.delete(name)

        client.transaction(release, name)


class Connection(SentinelManagedConnection):
    """A connection to the primary. Without a replica it counts as lost."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the answer. Raises redis.ConnectionError, which callers can handle."""
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not str(error).startswith("NOREPLICAS"):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(str(error)) from error


class QoS(redis.QoS):
    """The messages that this worker has taken and not yet done."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record that `message` was taken.

        A full Redis cannot record it: then the task runs all the same, which makes room. If the
        worker is killed before the end the task is lost; the outbox resends an event.
        """
        try:
            self._note(message, delivery_tag)
        except OutOfMemoryError:
            log.error("queue full: %s runs unrecorded", message.headers.get("task"))
            virtual.QoS.append(self, message, delivery_tag)

    def _note(self, message: Any, delivery_tag: str) -> None:
        super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Record that a message is done. If that fails the worker lets go of it all the same.

        A worker that holds its most messages would read nothing again, and never notice a lost
        connection.
        """
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Give back messages that other workers have held for too long, unless Redis is full."""
        try:
            super().restore_visible(*args, **kwargs)
        except OutOfMemoryError:
            log.warning("queue full: no message of a lost worker is given back")

    def held(self, kinds: Iterable[str]) -> int:
        """Return how many messages of these kinds of queues this worker holds."""
        this: Any = self  # the stubs are incomplete
        hand = [one for tag, one in this._delivered.items() if tag not in this._dirty]
        return sum(kind(one.delivery_info["routing_key"]) in kinds for one in hand)


class CopiedQoS(QoS):
    """The same, behind Sentinels."""

    def _note(self, message: Any, delivery_tag: str) -> None:
        """Record it on a replica too."""
        channel: Any = self.channel
        where = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        try:
            with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                pipe.zadd(self.unacked_index_key, {delivery_tag: time()})
                pipe.hset(self.unacked_key, delivery_tag, dumps([message._raw, *where]))
                pipe.execute_command(*COPY)
                pipe.execute()
        except channel.connection_errors:
            _taken.append((message._raw, *where))
            raise
        virtual.QoS.append(self, message, delivery_tag)


class _Ours:
    """The common part of both channels."""

    def _brpop_start(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the next message; read slow kinds only while another process is free."""
        this: Any = self
        most = max(1, this.qos.prefetch_count - 1) if this.qos.prefetch_count else float("inf")
        if isinstance(this._queue_cycle, Ranked):
            this._queue_cycle.closed = frozenset(SLOW if this.qos.held(SLOW) >= most else ())
        super()._brpop_start(*args, **kwargs)  # type: ignore[misc]  # of the channel that this stands before

    def _do_restore_message(
        self, payload: dict[str, Any], exchange: str, routing_key: str, pipe: Any, leftmost: bool = False
    ) -> None:
        """Give back a message that was taken and not done; the DELIVERIES-th time it is a dead
        letter.
        """
        headers = payload.setdefault("headers", {})
        headers[COUNT] = headers.get(COUNT, 0) + 1
        if headers[COUNT] < DELIVERIES:
            super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)  # type: ignore[misc]
            return
        aside = dead(routing_key)
        log.error("dead letter: %s %s of %s", headers.get("task"), headers.get("id"), routing_key)
        if aside is not None:
            pipe.lpush(aside, dumps(payload))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind a queue.

        Raises redis.ConnectionError if Redis is full and does not know this queue yet; a worker
        retries then.
        """
        this: Any = self
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]
        except OutOfMemoryError as error:
            member = this.sep.join([routing_key or "", pattern or "", queue or ""])
            with this.conn_or_acquire() as client:
                if not client.sismember(this.keyprefix_queue % (exchange,), member):
                    raise RedisConnectionError(f"Redis is full: {queue} cannot be added") from error

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        """Return the arguments of a connection.

        Raises redis.ConnectionError if the transport is closed. kombu would raise AttributeError
        and end a worker that loses the broker while a task runs: Celery closes twice, and the first
        time can fail before all channels are closed.
        """
        this: Any = self
        if getattr(this.connection, "client", None) is None:
            raise RedisConnectionError("the connection to the queue is closed")
        return super()._connparams(*args, **kwargs)  # type: ignore[misc]  # of the channel that this stands before


class Channel(_Ours, redis.Channel):
    """kombu's channel."""

    QoS = QoS


class Transport(redis.Transport):
    """kombu's transport, with this channel."""

    Channel = Channel


class SentinelChannel(_Ours, redis.SentinelChannel):
    """kombu's channel, which waits for a replica."""

    QoS = CopiedQoS
    connection_class = Connection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        put_back(self._return)  # the connection works again

    def _return(self, message: Any, exchange: str, routing_key: str) -> None:
        this: Any = self  # the stubs are incomplete
        if exchange:
            this.typeof(exchange).deliver(message, exchange, routing_key)
        else:
            this._put(routing_key, message)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """Put a task on the queue. Raises redis.ConnectionError if no replica has it in time."""
        this: Any = self
        # Batches and temporary queues hold only what may be lost.
        if kwargs.get("_publish_batch") is not None or queue in this._expires:
            super()._put(queue, message, **kwargs)
            return
        key = this._q_for_pri(queue, this._get_message_priority(message, reverse=False))
        with this.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, dumps(message))
            pipe.execute_command(*COPY)
            if pipe.execute()[-1] < 1:
                raise RedisConnectionError("no replica of the queue has the task in time: it may be lost")


class SentinelTransport(redis.SentinelTransport):
    """kombu's transport, with this channel."""

    Channel = SentinelChannel


def install() -> None:
    """Let the URLs of Redis and of Sentinels lead to these transports."""
    redis.Mutex = mutex
    TRANSPORT_ALIASES["redis"] = "scaleout.broker.transport:Transport"
    TRANSPORT_ALIASES["sentinel"] = "scaleout.broker.transport:SentinelTransport"
