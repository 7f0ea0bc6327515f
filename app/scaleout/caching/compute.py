"""Compute a value and keep it: the last stage of a fetch."""

from __future__ import annotations

import time

from scaleout.caching import codec, depends, invalidation, ledger, level, metrics, process
from scaleout.caching.call import Call
from scaleout.caching.errors import AwayError
from scaleout.caching.lease import Lease
from scaleout.caching.local import Held
from scaleout.caching.shared import EVERYTHING
from scaleout.caching.source import source


def compute(call: Call, lease: Lease) -> Held:
    """Compute the value. Redis keeps it if it granted the lease, this process if it is right by
    then.
    """
    call.recipe.missed.add()
    level.note(level.MISS)
    metrics.recomputations.labels(call.recipe.name, lease.reason).inc()
    inside = invalidation.in_transaction()
    try:
        held, payload, new_enough = _computed(call, lease.token)
    except BaseException:
        lease.release()
        raise
    if new_enough and not inside:
        return _put(call, lease, held, payload)
    if not inside:  # it may be made of what is rolled back, or of what only this transaction sees
        process.current.store.put(call.key, held)
    lease.release()
    return held


def _computed(call: Call, token: str) -> tuple[Held, bytes, bool]:
    """Return the value, its payload, and whether it was read from a database with the state
    `token`, and with the newest state that this process knows of.
    """
    here = process.current.ledger
    began, position = time.monotonic(), here.position
    with (
        source().at_least(max(token, here.token())) as new_enough,
        depends.collecting(call.key) as collected,
    ):
        value = call.value()
        collected.update({call.own_tag, EVERYTHING}, invalidation.checked(call.tags()))
        tags = tuple(sorted(invalidation.checked(collected)))
    what = f"the value of {call.recipe.name}"
    payload = codec.for_redis(codec.dump(value, what), what)
    held = Held.of(value, payload, began + min(ledger.CAP, call.recipe.timeout))
    held.tags, held.checked, held.remaining, held.at = tags, position, call.recipe.timeout, began
    return held, payload, new_enough


def _put(call: Call, lease: Lease, held: Held, payload: bytes) -> Held:
    """Keep the value in Redis, and in this process if it is right; return it either way."""
    now, position = time.monotonic(), process.current.ledger.position
    try:
        right = lease.put(held.tags, payload, call.recipe.timeout + call.recipe.stale)
    except AwayError:
        right = True  # as far as is known; and held only as long as a value without Redis
    else:
        # A wrong one is for the caller alone, which asked before it was invalidated, or replaced by
        # a newer one.
        held.checked = position if right else 0
        held.until, held.at = now + min(ledger.CAP, call.recipe.timeout), now
    if right:
        process.current.store.put(call.key, held)
    return held
