"""The transports of the queue: kombu's, but a lost broker ends no worker, and a failover loses no accepted task.

Behind Sentinels kombu's transport follows the primary. But replication is asynchronous, so what the primary has
acknowledged may be lost with it. Here a task is accepted when a replica has it too, and a worker has one when a replica
knows of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.sentinel import SentinelManagedConnection

COPY = ("WAIT", 1, 1000)  # replicas, and milliseconds until they must have all that this connection has written

# What was taken off the queue when the connection broke, so that nobody knows whether Redis still has it.
_taken: deque[tuple[Any, str, str]] = deque()


def put_back(put: Callable[[Any, str, str], None]) -> None:
    """Put back what was taken. Two channels may do so at once: each has messages of its own, without a lock.

    A lock could be held by another thread at the moment when a process of the pool is forked.
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
    """Do as kombu's own, without a script, which no user of the queue may run. Raises MutexHeld."""
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
    """A connection to the primary. One that has no replica at the moment is as good as none."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the answer. Raises redis.ConnectionError, with which callers know what to do."""
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not str(error).startswith("NOREPLICAS"):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(str(error)) from error


class QoS(redis.QoS):
    """What this worker has taken and not yet done."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that `message` was taken, on a replica too."""
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


class _Closed:
    """Of both channels: once its connection is closed, one says so with an error that callers expect."""

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        """Return what a connection is made with. Raises redis.ConnectionError where there is no transport any more.

        kombu would raise AttributeError there, and a worker that loses the broker with a task in hand would end by it:
        Celery closes twice, and the first time can fail before all channels are closed.
        """
        this: Any = self
        if getattr(this.connection, "client", None) is None:
            raise RedisConnectionError("the connection to the queue is closed")
        return super()._connparams(*args, **kwargs)  # type: ignore[misc]  # of the channel that this stands before


class Channel(_Closed, redis.Channel):
    """kombu's channel."""


class Transport(redis.Transport):
    """kombu's transport, with this channel."""

    Channel = Channel


class SentinelChannel(_Closed, redis.SentinelChannel):
    """kombu's channel, which waits for a replica."""

    QoS = QoS
    connection_class = Connection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        put_back(self._return)  # the connection is back

    def _return(self, message: Any, exchange: str, routing_key: str) -> None:
        this: Any = self  # the stubs know little of it
        if exchange:
            this.typeof(exchange).deliver(message, exchange, routing_key)
        else:
            this._put(routing_key, message)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """Put a task on the queue. Raises redis.ConnectionError if no replica has it in time: nobody knows."""
        this: Any = self
        # Batches, and queues that come and go, are for what may be lost.
        if kwargs.get("_publish_batch") is not None or queue in this._expires:
            super()._put(queue, message, **kwargs)
            return
        key = this._q_for_pri(queue, this._get_message_priority(message, reverse=False))
        with this.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, dumps(message))
            pipe.execute_command(*COPY)
            if pipe.execute()[-1] < 1:
                raise RedisConnectionError("no replica of the queue has the task")


class SentinelTransport(redis.SentinelTransport):
    """kombu's transport, with this channel."""

    Channel = SentinelChannel


def install() -> None:
    """Let the URLs of Redis and of Sentinels lead to these transports."""
    redis.Mutex = mutex
    TRANSPORT_ALIASES["redis"] = "scaleout.broker.transport:Transport"
    TRANSPORT_ALIASES["sentinel"] = "scaleout.broker.transport:SentinelTransport"
