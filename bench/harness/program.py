"""A program in a container that measures on request: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from harness.errors import BenchError

START_SECONDS = 90.0  # until the program has prepared what it measures
CALL_SECONDS = 60.0
END_SECONDS = 10.0


class Program:
    """A running program (bench/programs/serve.py). Its errors go to standard error as they come."""

    def __init__(self, command: Sequence[str], start: float = START_SECONDS) -> None:
        self._command = list(command)
        self._start = start
        self._lines: queue.Queue[str] = queue.Queue()
        self.operations: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.operations = self._answer(self._start)["ready"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise BenchError(f"`{' '.join(self._command)}` did not answer within {seconds:.0f} s") from None
        if not line:
            raise BenchError(f"`{' '.join(self._command)}` ended with status {self._process.wait(END_SECONDS)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"nothing was measured: {answer['error']}")
        return answer

    def ask(self, question: Mapping[str, Any], seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """Return the answer. Raises BenchError if there is none within `seconds`, or if it is an
        error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: said when its answer is looked for
        return self._answer(seconds)

    def _end(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)
