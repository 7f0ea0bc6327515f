"""The first level: objects in the memory of this process, behind Django's cache API. The alias is
`local`.

An immutable value (`frozen`) is stored and returned as it is. Of any other value the bytes are
stored, and each reader gets a copy.

The library under it, cachebox, holds a lock while it drops what it evicts or clears: a destructor
that used the cache would wait for itself for ever (seen with 6.2.10). So nothing is dropped inside
it: entries are removed first, and a clear starts a new store. Its own limit is one number; here
entries and bytes both have one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from sys import getsizeof
from time import monotonic
from typing import Any, Self

from cachebox import LRUCache
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func

from scaleout.base import in_child
from scaleout.caching.codec import dump, load
from scaleout.caching.frozen import frozen, size

OVERHEAD = 300  # bytes of an entry besides its value, its key and its tags: the objects that hold them


@dataclass(slots=True)
class Held:
    """One value in this process. Times are monotonic seconds."""

    value: Any  # of a frozen value
    packed: bytes | None  # of any other value
    size: int  # bytes of memory, without key and tags
    until: float
    tags: tuple[str, ...] = ()
    checked: int = 0  # the ledger's position up to which it is known to be right
    remaining: float = 0.0  # seconds from `at` until it should be computed again
    at: float = 0.0

    @classmethod
    def of(cls, value: object, payload: bytes, until: float) -> Self:
        """Hold `value`, of which `payload` is the dump."""
        if frozen(value):
            return cls(value, None, max(size(value), len(payload)) + OVERHEAD, until)
        return cls(None, payload, len(payload) + OVERHEAD, until)

    def take(self) -> Any:
        """Return the value: a copy, or one that cannot change."""
        return self.value if self.packed is None else load(self.packed)


def weight(key: str, held: Held) -> int:
    """Return the bytes of memory that an entry takes."""
    return held.size + getsizeof(key) + getsizeof(held.tags) + sum(map(getsizeof, held.tags))


class Store:
    """Values by key; the least recently used are dropped beyond the limits of number and size."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Start afresh, in a child process also with a new lock."""
        # For this store only, and reentrant: a destructor of a dropped value may call this again.
        self.lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._cache: LRUCache[str, Held] = LRUCache(0)
        # Returns the held value, at any age. Not a method: one more call would be a good part of a
        # look-up's time.
        self.get: Callable[[str], Held | None] = self._cache.get
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._cache)

    def put(self, key: str, held: Held) -> None:
        """Hold it, unless it alone exceeds the limit."""
        if weight(key, held) > self.max_bytes:
            self.drop(key)
            return
        dropped: list[Held] = []  # lives until the lock is released
        with self.lock:
            before: Held | None = self._cache.insert(key, held)
            self.bytes += weight(key, held) - (weight(key, before) if before else 0)
            while self.bytes > self.max_bytes or len(self._cache) > self.max_entries:
                name, gone = self._cache.popitem()
                dropped.append(gone)
                self.bytes -= weight(name, gone)

    def drop(self, key: str) -> bool:
        """Drop `key`; return whether it was held."""
        with self.lock:
            held: Held | None = self._cache.pop(key, None)
            self.bytes -= weight(key, held) if held else 0
        return held is not None

    def clear(self) -> None:
        """Drop everything."""
        with self.lock:
            old = self._cache  # lives until the lock is released
            self._begin()
        del old


_stores: dict[str, Store] = {}


@in_child
def _reset_all() -> None:
    for store in _stores.values():
        store.reset()


class LocalCache(BaseCache):
    """Django's cache API. `OPTIONS`: `MAX_ENTRIES` (300 by default) and `MAX_BYTES` (32 MiB)."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        most = int(params.get("OPTIONS", {}).get("MAX_BYTES", 32 * 1024 * 1024))
        # Each thread has a backend object of its own; what it holds is the process's.
        self.store = _stores.setdefault(name, Store(self._max_entries, most))
        # The prefix of each key, unless the project has a key function.
        self._lead = f"{self.key_prefix}:{self.version}:" if self.key_func is default_key_func else None

    def _key(self, key: Any, version: int | None) -> str:
        # Without Django's warnings for keys that memcached would refuse: they take longer than all
        # the rest.
        if version is None and self._lead is not None:
            return f"{self._lead}{key}"
        return self.make_key(key, version)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or `default`."""
        # `_key` and `take` are inlined for the most frequent call: a call costs as much as the
        # look-up itself.
        name = f"{self._lead}{key}" if version is None and self._lead is not None else self._key(key, version)
        held = self.store.get(name)
        if held is None or held.until <= monotonic():
            return default
        return held.value if held.packed is None else held.take()

    def set(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Keep the value. Raises UncacheableError if it cannot be pickled."""
        name, until = self._key(key, version), self._until(timeout)
        held = Held.of(value, dump(value, f"the value of {key!r}"), until)
        if until <= monotonic():
            self.store.drop(name)
        else:
            self.store.put(name, held)

    def add(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep the value unless one exists; return whether it was kept."""
        with self.store.lock:
            if self.has_key(key, version):
                return False
            self.set(key, value, timeout, version)
            return True

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give the value a new time-out; return whether one exists."""
        with self.store.lock:
            held = self.store.get(self._key(key, version))
            if held is None or held.until <= monotonic():
                return False
            held.until = self._until(timeout)
            return True

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add `delta` and return the sum, atomically among threads. Raises ValueError without a
        value.
        """
        with self.store.lock:
            held = self.store.get(self._key(key, version))
            if held is None or held.until <= monotonic():
                raise ValueError(f"Key {key!r} not found")
            value = held.take() + delta
            self.store.put(self._key(key, version), Held.of(value, dump(value, "a sum"), held.until))
            return value  # type: ignore[no-any-return]

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Drop the value; return whether one existed."""
        name = self._key(key, version)
        held = self.store.get(name)
        return self.store.drop(name) and held is not None and held.until > monotonic()

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether a value exists, even if it is None."""
        held = self.store.get(self._key(key, version))
        return held is not None and held.until > monotonic()

    def clear(self) -> None:
        """Drop everything, also what `multi_level_cache` holds."""
        self.store.clear()

    def _until(self, timeout: float | None) -> float:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return float("inf") if seconds is None else monotonic() + float(seconds)
