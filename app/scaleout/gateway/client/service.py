"""One service: its replicas, and the protection of it and of the rest of the site from each
other.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from scaleout.base import in_child
from scaleout.gateway.client import addresses, breaker, bulkhead, metrics
from scaleout.gateway.client.budget import Budget
from scaleout.gateway.client.connection import Kept
from scaleout.gateway.client.errors import Failed, Lost, Refused, Slow, Unreachable
from scaleout.gateway.client.exchange import Answer, Request, ask_first, exchange, open_connection

# Requests that may be sent again after a first one may have reached a replica: as in both load
# balancers.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
_LEAST = 0.02  # seconds in which an answer can be hoped for


@dataclass(frozen=True)
class Policy:
    """Seconds and numbers. The load balancers give up after 2 s without a byte: the gateway must
    answer before.
    """

    total: float = 1.8  # until the answer begins, with everything
    connect: float = 0.25
    attempt: float = 1.0  # for one try of a request that another replica can be asked
    body: float = 10.0  # for the rest of an answer, however it trickles
    piece: float = 1.8  # between two pieces of it
    tries: int = 3
    concurrency: int = 2  # calls at a time
    waiting: int = 1  # calls that wait for a place, however long the others take
    patience: float = 0.5  # without any call coming to its end, before the next is refused
    failures: int = 4  # in a row, before the service is left alone
    rest: float = 2.0  # that it is left alone
    second_tries: float = 0.1  # for each first one
    saved_tries: float = 10.0
    most_answer: int = 67_108_864  # bytes
    probe: str = ""  # the path that a replica is asked for on a new connection; "" asks nothing
    probe_seconds: float = 0.4  # for that, of a replica that is not the last: two that stop leave time for a third


class Service:
    """Call the replicas of the service `name`."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        policy: Policy,
        look_up: Callable[[str, int], list[addresses.Address]] = addresses.look_up,
    ) -> None:
        self.name, self.policy = name, policy
        self._where = host, port, look_up
        self.begin()
        _services.add(self)

    def begin(self) -> None:
        """Start with no addresses, connections or calls."""
        policy = self.policy
        self._addresses = addresses.Addresses(*self._where)
        self._kept = Kept()
        self._bulkhead = bulkhead.Bulkhead(policy.concurrency, policy.waiting, policy.patience)
        self._breaker = breaker.Breaker(policy.failures, policy.rest, self._tell)
        self._budget = Budget(policy.second_tries, policy.saved_tries)

    @classmethod
    def at(cls, name: str, url: str, policy: Policy) -> Service:
        """Return the service at an `http://` URL."""
        parts = urlsplit(url)
        return cls(name, str(parts.hostname), parts.port or 80, policy)

    def call(self, request: Request, until: float) -> Answer:
        """Return the answer, which must be closed. Raises Failed, and Refused if nothing could be
        sent.
        """
        try:
            ticket = self._breaker.enter()
        except breaker.Open as state:
            raise self._unavailable("open", "does not answer", state.seconds) from state
        well: bool | None = None
        try:
            try:
                # The time of a try is left to the service: it did nothing wrong while others waited
                # here.
                self._bulkhead.enter(until - self.policy.attempt)
            except bulkhead.Full as state:
                raise self._unavailable("busy", "is busy", 1) from state
            try:
                answer = self._try(request, until)
            except BaseException as error:
                self._bulkhead.leave(well=not isinstance(error, Failed))
                raise
            well = True
        except Failed:
            well = False
            raise
        finally:
            self._breaker.leave(ticket, well)
        return answer

    def _try(self, request: Request, until: float) -> Answer:
        """Ask one replica after the other. The place in the bulkhead is given back when the answer
        is closed.
        """
        self._budget.earn()
        tried: set[addresses.Address] = set()
        failure: Failed = Unreachable("no address is known")
        for number in range(self.policy.tries):
            choice = self._addresses.pick(tried, until - time.monotonic())
            if until - time.monotonic() < _LEAST:
                if not number:
                    raise Refused(504, "late", f"There was no time left to ask the service {self.name!r}.")
                break
            if choice is None:
                if not number:
                    metrics.failures.labels(self.name, "unreachable").inc()
                break
            if number and not self._budget.spend():
                break
            if number:
                metrics.retries.labels(self.name).inc()
            address, more = choice
            try:
                return self._ask(address, request, until, hurry=more and number + 1 < self.policy.tries)
            except Failed as error:
                failure = error
            metrics.failures.labels(self.name, type(failure).__name__.lower()).inc()
            # An idle connection that the replica has closed says nothing against the replica.
            if not (isinstance(failure, Lost) and failure.stale):
                tried.add(address)
                self._addresses.suspect(address)
            if failure.touched and not _repeatable(request, failure):
                break
        raise failure

    def _ask(self, address: addresses.Address, request: Request, until: float, *, hurry: bool) -> Answer:
        """Ask one replica; in a `hurry` leave time for another one."""
        policy, connection = self.policy, self._kept.take(address)
        now = time.monotonic()
        soon = min(until, now + policy.attempt) if hurry else until
        end = soon if request.method in _REPEATABLE else until
        try:
            # A thread that was kept from running may be past its end by now: that is no time, and
            # not less than none.
            sock = open_connection(connection, max(0.001, min(policy.connect, soon - now)))
            if policy.probe and not connection.used:
                patience = min(end, now + policy.probe_seconds) if hurry else end
                ask_first(connection, sock, policy.probe, patience, choosy=hurry)
            answer = exchange(connection, sock, request, end, policy.most_answer)
        except BaseException:
            connection.close()
            raise

        kept, places = self._kept, self._bulkhead  # of this process: a fork may lie in between

        def finish(answer: Answer) -> None:
            if answer.cut:
                metrics.cut.labels(self.name).inc()
            if answer.last:
                self._addresses.suspect(address)
            if answer.whole and not answer.cut and not answer.last:
                kept.keep(connection)
            else:
                connection.close()
            places.leave(well=not answer.cut)

        answer.begin(time.monotonic() + policy.body, policy.piece, finish)
        return answer

    def _tell(self, state: int) -> None:
        metrics.breaker.labels(self.name).set(state)

    def _unavailable(self, reason: str, detail: str, seconds: float) -> Refused:
        after = {"Retry-After": str(max(1, math.ceil(seconds)))}
        return Refused(503, reason, f"The service {self.name!r} {detail} at the moment.", after)


def _repeatable(request: Request, failure: Failed) -> bool:
    """Return whether a request that may have reached a replica may be sent to another one."""
    return request.method in _REPEATABLE and isinstance(failure, Lost | Slow) and not request.body.begun


_services: weakref.WeakSet[Service] = weakref.WeakSet()


@in_child
def _begin_all() -> None:
    for service in _services:
        service.begin()
