"""Fork safety: locks, threads and connections belong to one process.

Gunicorn and Celery fork. In the child no thread but the forking one exists, a lock that another
thread held stays locked, and a connection is shared with the parent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property


def in_child[F: Callable[[], object]](renew: F) -> F:
    """Call `renew` in each forked child, before anything else runs there. Usable as a decorator.

    Python keeps such a function for the life of the process: give it a module's, not a request's.
    """
    os.register_at_fork(after_in_child=renew)
    return renew


class PerProcess[T]:
    """A singleton that each process makes at its first use: a forked child makes its own."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        in_child(self.forget)

    @cached_property
    def own(self) -> T:
        """The object of this process, made once for all threads. `make` must not ask for it."""
        with self._lock:
            if self.made is None:
                vars(self)["own"] = self._make()
            return vars(self)["own"]  # type: ignore[no-any-return]  # from the dictionary of attributes

    @property
    def made(self) -> T | None:
        """The object of this process if it has made one; else None, without making it."""
        return vars(self).get("own")

    def forget(self) -> None:
        """Drop the object: the next use makes another one."""
        self._lock = threading.Lock()
        vars(self).pop("own", None)
