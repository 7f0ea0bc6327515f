"""One computation of a value at a time in this process, for which the other threads wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from scaleout.caching.local import Held


class Flight:
    """One computation, and its outcome."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.held: Held | None = None
        self.error: BaseException | None = None
        self._landed = threading.Event()
        self._second = threading.Lock()

    def land(self, held: Held | None, error: BaseException | None = None) -> None:
        """Wake the waiting threads. The first landing counts: a stale value may arrive before the
        new one.
        """
        if not self._landed.is_set():
            self.held, self.error = held, error
            self._landed.set()

    def take_over(self) -> bool:
        """Return whether the caller is the first that has waited long enough: it computes too, the
        others wait on.
        """
        return self._second.acquire(blocking=False)

    def wait(self, seconds: float) -> bool:
        """Wait for the landing; return whether it came in time."""
        return self._landed.wait(max(0.0, seconds))


class Flights:
    """The computations in progress, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Any, Flight] = {}

    def join(self, key: Any) -> tuple[Flight, bool]:
        """Return the flight of `key`, and whether it is the caller's to fly."""
        mine = Flight()
        flight = self._under_way.setdefault(key, mine)  # one step: no lock
        return flight, flight is mine

    def fly(self, key: Any, flight: Flight, fetch: Callable[[], Held]) -> Held:
        """Return what `fetch` returns, for all that wait for the flight, and end it."""
        try:
            flight.land(held := fetch())
        except BaseException as error:
            flight.land(None, error)
            raise
        finally:
            if self._under_way.get(key) is flight:  # the next caller begins another one
                self._under_way.pop(key, None)
        return held
