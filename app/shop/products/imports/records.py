"""Parse lines into records: the unchecked fields of one product each."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shop.products.imports.source import LINE_MAX, Source, SourceError

REQUIRED = ("sku", "name", "category", "price")
OPTIONAL = ("description", "currency", "stock", "featured", "image_url")
_TOO_LONG = f"longer than {LINE_MAX} bytes"


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a record that begins in this line, or the fault that prevents it."""

    line: int
    fields: dict[str, Any]
    fault: str = ""


class Records:
    """The records of a source. ``absent`` and ``ignored`` name columns of a CSV header."""

    def __init__(self, source: Source) -> None:
        """Read the header. Raises SourceError if a CSV has no usable one."""
        self.absent: list[str] = []
        self.ignored: list[str] = []
        self._source = source
        self._records = self._csv() if source.format == "csv" else self._jsonl()
        self._first = next(self._records, None)  # reads the header

    def __iter__(self) -> Iterator[Record]:
        if self._first is not None:
            yield self._first
            yield from self._records

    def _jsonl(self) -> Iterator[Record]:
        for number, text in self._source.lines():
            if text is None:
                yield Record(number, {}, _TOO_LONG)
            elif text.strip():
                yield _from_json(number, text)

    def _csv(self) -> Iterator[Record]:
        too_long: list[int] = []
        begun = 0

        def texts() -> Iterator[str]:
            nonlocal begun
            for number, text in self._source.lines():
                begun = begun or number
                if text is None:
                    too_long.append(number)
                yield "\n" if text is None else text

        lines = texts()
        header, delimiter = self._header(next(lines, ""))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            begun, fault, row = 0, "", list[str]()
            too_long.clear()
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                fault = f"not valid CSV: {error}"
            if too_long:
                fault = _TOO_LONG
            elif not fault and not row:
                continue  # a blank line
            elif not fault and len(row) != len(header):
                fault = f"has {len(row)} columns, the header has {len(header)}"
            # An empty cell counts as absent: CSV has no null.
            fields = {} if fault else {key: cell for key, cell in zip(header, row, strict=True) if cell.strip()}
            yield Record(begun, fields, fault)

    def _header(self, line: str) -> tuple[list[str], str]:
        """Return the column names and the delimiter: a comma, semicolon or tab."""
        best: list[str] = []
        for delimiter in (",", ";", "\t"):
            try:
                cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            except csv.Error as error:
                raise SourceError(f"{self._source.name}: the header is not valid CSV: {error}") from error
            names = [cell.strip().lower() for cell in cells]
            if set(REQUIRED) <= set(names):
                if len(set(names)) < len(names):
                    raise SourceError(f"{self._source.name}: a column is named twice in the header")
                self.absent = [name for name in OPTIONAL if name not in names]
                self.ignored = [name for name in names if name not in REQUIRED + OPTIONAL]
                return names, delimiter
            best = max(best, names, key=len)
        missing = [name for name in REQUIRED if name not in best]
        raise SourceError(f"{self._source.name}: the header has no column {', '.join(missing)}")


def _from_json(line: int, text: str) -> Record:
    try:
        fields = json.loads(text)
    except RecursionError:
        return Record(line, {}, "not valid JSON: nested too deeply")
    except ValueError as error:
        return Record(line, {}, f"not valid JSON: {error}")
    if not isinstance(fields, dict):
        return Record(line, {}, "not a JSON object")
    return Record(line, {key: value for key, value in fields.items() if value is not None})
