"""The body of a request: what the client asks of one, and one that is held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Body(Protocol):
    """Yields the bytes once. `begun` says whether any of them may be gone by now."""

    @property
    def length(self) -> int | None:
        """Return the number of bytes, None where it is unknown or there is no body."""

    @property
    def chunked(self) -> bool:
        """Return whether there is a body of unknown length."""

    @property
    def begun(self) -> bool:
        """Return whether reading has begun, so that the request cannot be sent again."""

    def __iter__(self) -> Iterator[bytes]: ...


class Held:
    """These bytes, or no body. They can be read again, so `begun` stays false."""

    chunked = begun = False

    def __init__(self, content: bytes | None = None) -> None:
        self._content = content
        self.length = None if content is None else len(content)

    def __iter__(self) -> Iterator[bytes]:
        if self._content:
            yield self._content
