"""Django's admin, added as docs/your-project.md says: every service still passes Django's checks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config.services import APIS, WORKERS

APP = Path(__file__).resolve().parents[2]
PAGE = APP.parent / "docs" / "your-project.md"
SERVICES = ["web", *APIS, "worker", *(f"{one}-worker" for one in WORKERS), "beat", "migrate", "build"]


def applied(text: str) -> dict[str, str]:
    """Return the snippets of the page's section about the admin, by the file that each is for."""
    section = text.partition("### The admin")[2].partition("\n## ")[0]
    return {path: body for path, body in re.findall(r"In `([^`]+)`.*?```python\n(.*?)```", section, re.DOTALL)}


def add_admin(app: Path) -> None:
    """Do to the copy `app` of the application what the page says."""
    snippets = applied(PAGE.read_text(encoding="utf-8"))
    assert set(snippets) == {"app/config/settings.py", "app/config/databases.py", "app/config/urls.py"}
    for path, lines in snippets.items():
        file = app / Path(path).relative_to("app")
        text = file.read_text(encoding="utf-8")
        for opening, added in re.findall(r"^(\S.*?)  # add:\n((?:    .*\n)+)", lines, re.MULTILINE):
            found = text.partition(f"\n{opening}\n")
            assert found[1], f"{path} has no line {opening!r}"
            text = found[0] + found[1] + added + found[2]
        file.write_text(re.sub(r"(?m)^(from __future__.*\n)", rf"\1\n{imports(lines)}", text, count=1))


def imports(lines: str) -> str:
    """Return the imports of a snippet."""
    return "".join(re.findall(r"(?m)^from .*\n", lines))
