"""The tables of SECURITY.md."""

from __future__ import annotations

import re

from support.settings import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table below `heading`, without its head."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names(cell: str) -> set[str]:
    """Return what stands in backquotes: `postgres-1` … `postgres-4` is four names."""
    found: set[str] = set()
    for first, last in re.findall(r"`([a-z0-9_-]+)`(?: … `([a-z0-9_-]+)`)?", cell):
        stem, _, number = first.rpartition("-")
        found |= {f"{stem}-{n}" for n in range(int(number), int(last[-1]) + 1)} if last else {first}
    return found
