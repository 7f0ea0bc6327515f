"""Fetch a value that this process may not show yet. It goes one way:

the flight of this process's threads, Redis, the lease among all processes, the computation.
"""

from __future__ import annotations

import threading
import time

from scaleout.caching import invalidation, lease, level, metrics, process
from scaleout.caching.call import Call
from scaleout.caching.compute import compute
from scaleout.caching.flights import Flight
from scaleout.caching.lease import Lease
from scaleout.caching.local import Held
from scaleout.caching.lookup import try_look


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
        return fetch_shared(call, impatient=True)
    if not flight.wait(lease.PATIENCE):
        if flight.take_over():
            return flights.fly(name, flight, lambda: fetch_shared(call, impatient=True))
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


def fetch_shared(call: Call, flight: Flight | None = None, *, impatient: bool = False) -> Held:
    """Return the value of Redis, or computed once for all processes; a stale one rather than wait.

    `flight`: the threads of this process that wait for it. `impatient`: compute it in any case.
    """
    found = lease.try_take(call, "impatience") if impatient else _right_or_lease(call)
    if isinstance(found, Held):
        call.recipe.l2.add()
        level.note(level.L2)
        return found
    if flight is not None and found.reason == "impatience" and not flight.take_over():
        flight.wait(lease.LOCK)  # a thread that waits for this one was the first to lose patience
        if flight.held:
            return flight.held
    if flight is not None and found.stale is not None:
        flight.land(found.stale)  # the threads that wait are served the stale value at once
    return compute(call, found)


def _right_or_lease(call: Call) -> Held | Lease:
    """Return the value if Redis has it, or a stale one that is good enough; else leave to compute
    it.
    """
    held = try_look(call)
    if held is not None and held.remaining > 0:
        return held
    if process.current.wire.breaker.open:
        return Lease(call.key, "away")
    if invalidation.in_transaction():
        return Lease(call.key, "transaction")
    return lease.wait(call)
