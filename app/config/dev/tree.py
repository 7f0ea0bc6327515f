"""The state of the source files, from their sizes and times. Reading it takes about a
millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Files that no service loads while it runs, or that it reads again each time.
_SKIPPED = {"tests", "migrations", "static", "staticfiles", "locale", "node_modules", "__pycache__"}

type Stamps = dict[str, tuple[int, int, int]]  # by path: size and times


def code() -> Stamps:
    """Return the state of the Python files."""
    return dict(_stamps(str(ROOT), rendered=False, templates=False))


def pages() -> str:
    """Return a text that changes when a Python file or a template is changed, added or removed."""
    files = sorted(_stamps(str(ROOT), rendered=False, templates=True))
    return blake2b(repr(files).encode(), digest_size=6).hexdigest()


def _stamps(folder: str, *, rendered: bool, templates: bool) -> Iterator[tuple[str, tuple[int, int, int]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name not in _SKIPPED and not entry.name.startswith("."):
                    inside = rendered or (templates and entry.name == "templates")
                    yield from _stamps(entry.path, rendered=inside, templates=templates)
            elif rendered or entry.name.endswith(".py"):
                try:
                    found = entry.stat()
                except OSError:  # an editor is replacing the file
                    continue
                yield entry.path, (found.st_ino, found.st_size, found.st_mtime_ns)
