"""One thread a process that listens for invalidations, probes Redis twice a second, and sends
unsent tags.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scaleout.caching import metrics
from scaleout.caching.ledger import Ledger
from scaleout.caching.wire import Wire, full

log = logging.getLogger(__name__)

BEAT = 0.5  # seconds between two questions
ANSWER = 0.5  # seconds until a question without an answer is a lost connection
CHANNEL = "{caching}:invalidated"


def message(tags: Iterable[str], token: str) -> str:
    """Return the message for `tags`; a process of the release before reads it as tags only."""
    return " ".join(tags) + (f"  {token}" if token else "")


class Watch:
    """The thread. Its first use starts it: after gunicorn has forked, never before."""

    def __init__(self, wire: Wire, ledger: Ledger, resend: Callable[[], bool]) -> None:
        self._wire = wire
        self._ledger = ledger
        self._resend = resend  # sends the unsent tags; returns whether none is left
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.heard = threading.Event()  # set while it listens

    def start(self) -> None:
        """Start the thread if none runs."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="caching", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        """Let the thread end, within BEAT."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            connection: Any = None
            try:
                self._wire.refresh()
                connection = self._wire.connect(full(CHANNEL), ANSWER)
                self._listen(connection)
            except (RedisError, OSError) as error:
                self._wire.leave(error)
            except Exception:  # else the process would silently stop listening
                log.exception("cache watch restarted after an error")
                self._wire.leave("the watch has failed")
            finally:
                self.heard.clear()
                if connection is not None:
                    connection.disconnect()
            metrics.tell()
            self._stopping.wait(BEAT)

    def _listen(self, connection: Any) -> None:
        connection.send_command("SUBSCRIBE", full(CHANNEL))
        connection.read_response()
        self._ledger.drop_all()  # earlier messages were missed
        self.heard.set()
        due, asked = time.monotonic(), None
        while not self._stopping.is_set():
            limit = due if asked is None else asked + ANSWER
            if connection.can_read(max(0.0, limit - time.monotonic())):
                answer = connection.read_response()
                if answer[0] == b"message":
                    tags, _, token = answer[2].decode().partition("  ")
                    self._ledger.note(tags.split(" "), token)
                elif answer[0] == b"pong" and asked is not None:
                    self._beat(time.monotonic() - asked)
                    due, asked = asked + BEAT, None
            elif asked is not None and time.monotonic() - asked >= ANSWER:
                raise RedisTimeoutError(f"no answer within {ANSWER} s")
            if asked is None and time.monotonic() >= due:
                asked = time.monotonic()
                connection.send_command("PING")

    def _beat(self, seconds: float) -> None:
        metrics.tell()
        # Redis must have all unsent tags of this process before the breaker closes.
        if self._resend() and self._wire.whole() and self._wire.breaker.answered(seconds):
            self._ledger.drop_all()
