"""Two WSGI filters for the pipelines of Swift's proxy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

MOST = 10_000  # entries; above it all are dropped

App = Callable[[dict[str, Any], Any], Any]


class LocalCache:
    """The part of a memcached client that Swift uses."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, Any]] = {}

    def get(self, key: str, **_options: Any) -> Any:
        """Return the value; None if it is missing or expired."""
        until, value = self._values.get(key, (0.0, None))
        return value if until > time.monotonic() else None

    def set(self, key: str, value: Any, serialize: bool = True, time: float = 0, **_options: Any) -> None:
        """Store `value` for `time` seconds; 0 means an hour."""
        if len(self._values) >= MOST:
            self._values.clear()
        self._values[key] = (_now() + (time or 3600), value)

    def delete(self, key: str, **_options: Any) -> None:
        """Remove the value."""
        self._values.pop(key, None)


def _now() -> float:
    return time.monotonic()


def cache(_global: dict[str, str], **_local: str) -> Callable[[App], App]:
    """Provide the cache that tempauth requires, in the memory of the only proxy process."""
    return _adding("swift.cache", LocalCache())


def owner(_global: dict[str, str], **_local: str) -> Callable[[App], App]:
    """Let each caller set a bucket's read rights. For the internal pipeline only."""
    return _adding("swift_owner", True)


def _adding(key: str, value: object) -> Callable[[App], App]:
    def add(app: App) -> App:
        def call(environ: dict[str, Any], start_response: Any) -> Any:
            environ[key] = value
            return app(environ, start_response)

        return call

    return add
