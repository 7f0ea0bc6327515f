"""The body of a request, passed on while it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scaleout.gateway.client.errors import Refused

_CHUNK = 65536


class Upload:
    """Read the body from the server once; `begun` says whether reading has begun."""

    def __init__(self, environ: dict[str, Any], most: int) -> None:
        """Raise Refused: 413 if the caller declares more than `most` bytes, 400 for a malformed
        length.
        """
        declared = environ.get("CONTENT_LENGTH") or None
        if declared is not None and not re.fullmatch(r"[0-9]{1,18}", declared):
            raise Refused(400, "body", "The length of the body is not a number.")
        self.length = int(declared) if declared is not None else None
        # Only a server that ends the stream by itself, as gunicorn does, passes a body without a
        # length.
        self.chunked = self.length is None and bool(
            environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated")
        )
        self.begun = False
        self._most, self._input = most, environ["wsgi.input"]
        if (self.length or 0) > most:
            raise _too_large(most)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body. Raises Refused: 413 if it is too large, 400 if it ends too soon."""
        size = 0
        while self.chunked or size < (self.length or 0):
            self.begun = True
            try:
                chunk = self._input.read(_CHUNK if self.chunked else min(_CHUNK, (self.length or 0) - size))
            except Exception as error:  # the server's error for a bad body
                raise _incomplete() from error
            if not chunk:
                if self.chunked:
                    return
                raise _incomplete()
            size += len(chunk)
            if size > self._most:
                raise _too_large(self._most)
            yield chunk


def _too_large(most: int) -> Refused:
    return Refused(413, "size", f"The body is larger than {most} bytes.")


def _incomplete() -> Refused:
    return Refused(400, "body", "The body of the request ended before its end.")
