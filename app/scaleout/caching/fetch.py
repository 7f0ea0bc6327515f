"""Fetch a value that this process does not hold, one way: flight, Redis, lease, computation.

One thread of a process fetches for all, and one process of all computes.
"""

from __future__ import annotations

import threading
import time

from scaleout.caching import invalidation, lease, level, metrics, process
from scaleout.caching.call import Call
from scaleout.caching.compute import compute
from scaleout.caching.errors import AwayError
from scaleout.caching.flights import Flight
from scaleout.caching.local import Held
from scaleout.caching.lookup import hold, try_look

PATIENCE = 1.5  # seconds until a caller that waits computes too: a load balancer waits 2
LOOK = 0.02  # seconds between two looks for what another process computes

_pause = threading.Event()  # never set: to wait without a busy loop


def fetch(call: Call, *, again: bool = False) -> Held:
    """Return the value, fetched once for all threads of this process that want it now.

    `again`: for those that may not have what the first fetch brought.
    """
    if invalidation.in_transaction():  # others may not see what it sees, nor it what they see
        return fetch_shared(call)
    name, flights = (call.key, again), process.current.flights
    flight, mine = flights.join(name)
    if mine:
        return flights.fly(name, flight, lambda: fetch_shared(call, flight))
    began = time.monotonic()
    if flight.thread == threading.get_ident():  # it calls itself
        return compute(call, lease.try_take(call), "impatience")
    if not flight.wait(PATIENCE):
        if flight.take_over():
            return flights.fly(name, flight, lambda: compute(call, lease.try_take(call), "impatience"))
        flight.wait(lease.LOCK)
    metrics.waits.labels(call.recipe.name).observe(time.monotonic() - began)
    if isinstance(flight.error, Exception):
        raise flight.error
    # A value whose computation began before an invalidation is no answer to a call after it.
    held = flight.held
    if held and held.until > began and process.current.ledger.allows(held):
        call.recipe.l1.add()
        level.note(level.L1)
        return held
    return fetch_shared(call) if again else fetch(call, again=True)


def fetch_shared(call: Call, flight: Flight | None = None) -> Held:
    """Return the value of Redis, or computed once for all processes; a stale one rather than wait.

    `flight`: those threads of this process wait for it.
    """
    held = try_look(call)
    if held is not None and held.remaining > 0:
        return _from_redis(call, held)
    if process.current.wire.breaker.open:
        return compute(call, None, "away")
    if invalidation.in_transaction():
        return compute(call, None, "transaction")
    return _from_redis_or_computed(call, flight)


def _from_redis_or_computed(call: Call, flight: Flight | None) -> Held:
    """Wait for the lease or for what its holder computes, for PATIENCE seconds."""
    owner, began = lease.new_owner(), time.monotonic()
    while True:
        now, position = time.monotonic(), process.current.ledger.position
        try:
            granted = lease.take(call, owner)
        except AwayError:
            return compute(call, None, "away")
        locked, found = granted.grant.locked, granted.grant.found
        held = hold(call.key, found, now, position) if found else None
        turn = locked or now >= began + PATIENCE
        if held is not None and (held.remaining > 0 or not turn):
            granted.release()
            _waited(call, began)
            return _from_redis(call, held)
        if turn and not locked and flight is not None and not flight.take_over():
            flight.wait(lease.LOCK)  # a thread that waits for this one was the first to lose patience
            if flight.held:
                return flight.held
        if turn:
            if held is not None and flight is not None:
                flight.land(held)  # the threads that wait are served the stale value at once
            _waited(call, began)
            return compute(call, granted, ("expired" if held else "missing") if locked else "impatience")
        _pause.wait(LOOK)


def _from_redis(call: Call, held: Held) -> Held:
    call.recipe.l2.add()
    level.note(level.L2)
    return held


def _waited(call: Call, began: float) -> None:
    if (seconds := time.monotonic() - began) > LOOK:
        metrics.waits.labels(call.recipe.name).observe(seconds)
