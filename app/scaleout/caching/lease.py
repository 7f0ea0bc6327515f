"""Leases: of all processes that lack a value, one computes it and the others wait for it."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from scaleout.caching import metrics, process
from scaleout.caching.call import Call
from scaleout.caching.errors import AwayError
from scaleout.caching.local import Held
from scaleout.caching.lookup import guess, hold
from scaleout.caching.shared import Grant

PATIENCE = 1.5  # seconds until a caller that waits computes too: a load balancer waits 2
LOCK = 10.0  # seconds after which a computation that does not end no longer holds up the others
LOOK = 0.02  # seconds between two looks for what another process computes

_pause = threading.Event()  # never set: to wait without a busy loop


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to compute a value. Without a grant of Redis the value stays in this process.

    `reason`: why it is computed, for the metric. `stale`: a value to show until then.
    """

    key: str
    reason: str
    owner: str = ""
    grant: Grant | None = None
    stale: Held | None = None

    @property
    def locked(self) -> bool:
        """Whether the other processes wait for this one."""
        return self.grant is not None and self.grant.locked

    @property
    def token(self) -> str:
        """The state of the database that the computation must have read."""
        return self.grant.token if self.grant else ""

    def put(self, tags: tuple[str, ...], payload: bytes, seconds: float) -> bool:
        """Keep the value in Redis for `seconds` and give the lock back; return whether it is right,
        and none newer there. Raises AwayError while Redis is down, and without a grant.
        """
        if self.grant is None:
            raise AwayError
        return process.current.shared.put(self.key, self.owner, self.grant.time, tags, payload, seconds)

    def release(self) -> None:
        """Give the lock back. While Redis is down, it expires."""
        if self.locked:
            with suppress(AwayError):
                process.current.shared.release(self.key, self.owner)


def take(call: Call, reason: str, owner: str = "") -> Lease:
    """Ask for the lease of a value once. `owner`: who asked before. Raises AwayError."""
    owner = owner or secrets.token_hex(8)
    grant = process.current.shared.begin(call.key, guess(call.key), call.recipe.stale, owner, LOCK)
    return Lease(call.key, reason, owner, grant)


def try_take(call: Call, reason: str) -> Lease:
    """Do the same, but return a lease without a grant while Redis is down."""
    process.current.watch.start()
    try:
        return take(call, reason)
    except AwayError:
        return Lease(call.key, reason)


def wait(call: Call) -> Lease | Held:
    """Wait for the lease or for what its holder computes, and return which came.

    After PATIENCE seconds return a lease without the lock. A stale value is worth no wait.
    """
    owner, began = secrets.token_hex(8), time.monotonic()
    while True:
        now, position = time.monotonic(), process.current.ledger.position
        try:
            lease = take(call, "missing", owner)
        except AwayError:
            return Lease(call.key, "away")
        found = lease.grant.found if lease.grant else None
        held = hold(call.key, found, now, position) if found else None
        turn = lease.locked or now >= began + PATIENCE
        if held is not None and (held.remaining > 0 or not turn):
            lease.release()
            _waited(call, began)
            return held
        if turn:
            _waited(call, began)
            reason = "impatience" if not lease.locked else "expired" if held else "missing"
            return replace(lease, reason=reason, stale=held)
        _pause.wait(LOOK)


def _waited(call: Call, began: float) -> None:
    if (seconds := time.monotonic() - began) > LOOK:
        metrics.waits.labels(call.recipe.name).observe(seconds)
