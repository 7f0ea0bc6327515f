"""A progress bar on a terminal; one line for each step elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

WIDTH = 30


class Bar:
    """The reports of `Mover`, for people."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._terminal = self._out.isatty()
        self._last = ""

    def __call__(self, step: str, done: int, of: int) -> None:
        """Show that `done` of `of` parts of `step` are done."""
        step = str(step)
        if self._terminal:
            full = WIDTH * done // max(of, 1)
            begin = "\n" if self._last not in {"", step} else "\r"
            self._out.write(f"{begin}{step:<12} [{'#' * full}{'.' * (WIDTH - full)}] {done}/{of} ")
        elif step != self._last:
            self._out.write(f"{step}\n")
        self._out.flush()
        self._last = step

    def end(self) -> None:
        """End the line."""
        if self._terminal and self._last:
            self._out.write("\n")
        self._last = ""
