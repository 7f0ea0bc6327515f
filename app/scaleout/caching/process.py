"""Per-process singletons, recreated after a fork: connections and threads do not survive one."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterable
from functools import cached_property

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from scaleout.base import in_child
from scaleout.caching import metrics
from scaleout.caching.conf import LOCAL
from scaleout.caching.errors import AwayError
from scaleout.caching.flights import Flights
from scaleout.caching.ledger import Ledger
from scaleout.caching.local import Held, LocalCache, Store
from scaleout.caching.shared import EVERYTHING, Shared
from scaleout.caching.signals import invalidated
from scaleout.caching.watch import Watch
from scaleout.caching.wire import Wire

log = logging.getLogger(__name__)

MOST = 10_000  # unsent tags; more are sent as EVERYTHING
LAST_TRY = 2.0  # seconds that the end of a process waits for Redis, if something is unsent


class Process:
    """The levels of this process, and its unsent invalidations."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.wire = Wire()
        self.shared = Shared(self.wire)
        self.watch = Watch(self.wire, self.ledger, self._catch_up)
        self.flights = Flights()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._unsent: set[str] = set()
        self._token = ""

    @cached_property
    def store(self) -> Store:
        """The first level."""
        local = caches[LOCAL]
        if not isinstance(local, LocalCache):
            raise ImproperlyConfigured(f'CACHES["{LOCAL}"]["BACKEND"] must be "scaleout.caching.local.LocalCache"')
        return local.store

    def held(self, key: str) -> Held | None:
        """Return the value that this process holds, if it may be shown without asking Redis."""
        held = self.store.get(key)
        if held is None or held.until <= time.monotonic():
            return None
        # Usually no invalidation was received since: comparing two numbers takes less than a call.
        return held if held.checked == self.ledger.position or self.ledger.allows(held) else None

    def tell(self, tags: Iterable[str], token: str) -> None:
        """Invalidate `tags`, here at once and elsewhere as soon as Redis takes them. Raises
        nothing.
        """
        wrong = set(tags)
        self.ledger.note(wrong, token)
        metrics.invalidations.inc(len(wrong))
        self.watch.start()
        try:
            self.shared.invalidate(wrong, token)
        except AwayError:
            self._keep(wrong, token)
        # Last: a process that gets the message and reads Redis again finds nothing old there.
        invalidated.send_robust(type(self), tags=wrong)

    def send_unsent(self) -> bool:
        """Send the unsent tags; return whether none is left. Raises redis.RedisError or OSError."""
        with self._sending:  # after the wait no other thread is sending
            with self._lock:
                # Removed first: a tag that is added during the sending is a change of its own.
                tags, token = self._unsent, self._token
                self._unsent, self._token = set(), ""
            if not tags:
                return True
            try:
                self.shared.invalidate(tags, token, anyway=True)
            except BaseException:
                self._keep(tags, token)
                raise
            with self._lock:
                metrics.unsent.set(len(self._unsent))
                return not self._unsent

    def _catch_up(self) -> bool:
        self.shared.release_unsure()
        return self.send_unsent()

    def _keep(self, tags: set[str], token: str) -> None:
        """Keep tags that could not be sent."""
        with self._lock:
            self._unsent |= tags
            self._token = max(self._token, token)
            if len(self._unsent) > MOST:
                self._unsent = {EVERYTHING}
            metrics.unsent.set(len(self._unsent))

    def end(self) -> None:
        """End the thread, and close idle connections."""
        self.watch.stop()
        self.wire.close()

    def last_try(self) -> None:
        """At the end of a process: try once more to send the unsent tags."""
        until = time.monotonic() + LAST_TRY
        while True:
            try:
                if self.send_unsent():
                    return
            except (RedisError, OSError) as error:
                if time.monotonic() > until:
                    log.error("invalidations lost: %d: %s", len(self._unsent), error)
                    return
                threading.Event().wait(0.1)


current = Process()


@in_child
def renew() -> None:
    """Start afresh: in a child process, and between tests."""
    global current  # noqa: PLW0603 - one process, one of each
    current = Process()


atexit.register(lambda: current.last_try())  # noqa: PLW0108 - the current one at that time
