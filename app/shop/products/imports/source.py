# ruff: noqa: SIM115 -- the ExitStack closes the files
"""A catalogue file as numbered lines: plain, gzip or xz, from disk or standard input."""

import gzip
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self, cast

type Format = Literal["csv", "jsonl"]

LINE_MAX = 1024 * 1024  # bytes; a longer line is skipped, so that memory stays bounded
_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)


class SourceError(Exception):
    """The file as a whole cannot be read; the message is one line."""


class Source:
    """A file; ``-`` is standard input. Raises SourceError on opening and while reading."""

    def __init__(self, path: str, given_format: Format | None = None) -> None:
        self._stack = ExitStack()
        self.name = "standard input" if path == "-" else path
        self.format = given_format or _format_of(path)
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if path == "-" else self._stack.enter_context(Path(path).open("rb"))
            status = os.fstat(self._raw.fileno())
        except OSError as error:
            raise SourceError(f"{self.name}: {error.strerror or error}") from error
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._stream = self._raw
        if path.endswith(".gz"):
            unpacked = self._stack.enter_context(gzip.open(self._raw))
            self._stream = cast(IO[bytes], unpacked)
        elif path.endswith(".xz"):
            self._stream = self._stack.enter_context(lzma.LZMAFile(self._raw))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def fraction(self) -> float | None:
        """Return the fraction of the file that has been read; None if its size is unknown."""
        return min(self._raw.tell() / self._size, 1.0) if self._size else None

    def lines(self) -> Iterator[tuple[int, str | None]]:
        """Yield line number and text; None for a line that is too long.

        Bytes that are not UTF-8 become surrogates.
        """
        number = 0
        try:
            while line := self._stream.readline(LINE_MAX + 1):
                number += 1
                if len(line) > LINE_MAX:
                    while line and not line.endswith(b"\n"):
                        line = self._stream.readline(LINE_MAX)
                    yield number, None
                    continue
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that spreadsheets write
                yield number, line.decode("utf-8", "surrogateescape")
        except _DAMAGE as error:
            raise SourceError(f"{self.name}: unreadable after line {number}: {error}") from error


def _format_of(path: str) -> Format:
    suffix = Path(path.removesuffix(".gz").removesuffix(".xz")).suffix
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    if path == "-":
        raise SourceError("standard input needs --format csv or --format jsonl")
    raise SourceError(f"{path}: must end in {', '.join(_FORMATS)} (.gz and .xz may follow), or give --format")
