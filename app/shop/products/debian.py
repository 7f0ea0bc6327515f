"""Debian's package index as a catalogue: large, real, and available to every machine."""

import gzip
import lzma
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

STOCK = 100
_BYTES_PER_CENT = 10 * 1024
_APT_HELPER = "/usr/lib/apt/apt-helper"  # part of apt: unpacks the formats that apt uses, such as .lz4


class BadIndexError(ValueError):
    """The input is not a package index."""


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Open a Packages file, plain or .xz, .gz, .lz4; ``-`` is standard input. Raises OSError."""
    if path == "-":
        yield sys.stdin.buffer
    elif path.endswith(".lz4"):
        with Path(path).open("rb"):  # raises the usual OSError if the file is missing
            pass
        with subprocess.Popen([_APT_HELPER, "cat-file", path], stdout=subprocess.PIPE) as helper:
            yield cast(IO[bytes], helper.stdout)
        if helper.returncode:
            raise OSError(f"apt-helper could not read {path}")
    elif path.endswith(".xz"):
        with lzma.open(path) as file:
            yield file
    elif path.endswith(".gz"):
        with gzip.open(path) as compressed:
            yield cast(IO[bytes], compressed)
    else:
        with Path(path).open("rb") as file:
            yield file


def stanzas(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a Packages file (deb822), with a field's lines joined by newlines.

    Raises BadIndexError for a line that is neither a field nor a continuation of one.
    """
    fields: dict[str, str] = {}
    name = ""
    for number, raw in enumerate(lines, start=1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t" and name:
            further = line.strip()
            fields[name] += "\n" + ("" if further == "." else further)
        else:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise BadIndexError(f"line {number} is not a field of a package index")
            fields[name] = value.strip()
    if fields:
        yield fields


def product(fields: dict[str, str]) -> dict[str, Any]:
    """Return a stanza as a record for import_catalog.

    The index has no prices. The price is one cent for each started 10 KiB of the package's size,
    at least one cent, so each run gives the same. Raises BadIndexError.
    """
    try:
        package, size = fields["Package"], int(fields["Size"])
    except (KeyError, ValueError) as error:
        raise BadIndexError(f"stanza without Package or Size: {fields.get('Package', 'no name')}") from error
    # "contrib/utils" is the section utils of the area contrib.
    section = fields.get("Section", "misc").rpartition("/")[2]
    return {
        "sku": f"deb-{package}",
        "name": package,
        "description": fields.get("Description", ""),
        "category": f"debian/{section}",
        "price": max(1, -(-size // _BYTES_PER_CENT)),
        "currency": "EUR",
        "stock": STOCK,
    }


def products(lines: Iterable[bytes], seen: set[str]) -> Iterator[dict[str, Any]]:
    """Yield a record for each package name not yet in ``seen``: the first version counts."""
    for fields in stanzas(lines):
        record = product(fields)
        if record["name"] not in seen:
            seen.add(record["name"])
            yield record
