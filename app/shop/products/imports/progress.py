"""The progress of an import: a bar on a terminal, else a line every few seconds."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

_EVERY_ROWS = 200
_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0
_WIDTH = 30


class Progress:
    def __init__(self, stream: TextIO, fraction: Callable[[], float | None]) -> None:
        self._stream = stream
        self._fraction = fraction
        self._terminal = stream.isatty()
        self._interval = _BAR_SECONDS if self._terminal else _LINE_SECONDS
        self._began = self._shown = time.monotonic()
        self._drawn = False
        self.rows = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def watch[T](self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self.rows += 1
            if self.rows % _EVERY_ROWS == 0 and time.monotonic() - self._shown >= self._interval:
                self._show()
            yield item

    def say(self, message: str) -> None:
        """Write a line; the bar is cleared first."""
        self.clear()
        self._stream.write(f"{message}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False

    def _show(self) -> None:
        self._shown = time.monotonic()
        text = f"{self.rows:,} rows, {self.rows / max(self.seconds, 0.001):,.0f} rows/s"
        fraction = self._fraction()
        if fraction is not None:
            text += f", {fraction:.0%}"
        if not self._terminal:
            self.say(text)
            return
        bar = ""
        if fraction is not None:
            done = round(fraction * _WIDTH)
            bar = "[" + "#" * done + "." * (_WIDTH - done) + "] "
        self._stream.write(f"\r\x1b[K{bar}{text}")
        self._stream.flush()
        self._drawn = True
