"""Settings from the environment. A bad value stops the service with one line that names it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def refuse(name: str, reason: str) -> NoReturn:
    """Stop the process: `name` in the environment is bad because of `reason`. Exit code 64 (EX_USAGE)."""
    sys.stderr.write(f'{os.environ.get("SERVICE", "app")}: {name}="{os.environ.get(name, "")}": {reason}\n')
    raise SystemExit(os.EX_USAGE)


def text(name: str, default: str) -> str:
    """Return the value of `name`, or `default` where it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool = False) -> bool:
    """Return whether `name` is switched on: 1 or 0, nothing else."""
    value = text(name, "1" if default else "0")
    if value not in ("0", "1"):
        refuse(name, "must be 0 or 1")
    return value == "1"


def integer(name: str, default: int, *, least: int, most: int) -> int:
    """Return `name` as a whole number from `least` to `most`."""
    value = text(name, str(default))
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        refuse(name, f"must be a whole number from {least} to {most}")
    return int(value)


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """Return `name`, which must be one of `allowed`."""
    value = text(name, default)
    if value not in allowed:
        refuse(name, f"must be one of {', '.join(allowed)}")
    return value


def words(name: str) -> list[str]:
    """Return the comma-separated words of `name`; an empty list where it is unset."""
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def secret(name: str) -> str:
    """Return the content of the file that `<name>_FILE` points to. No secret has a default."""
    variable = f"{name}_FILE"
    path = os.environ.get(variable, "")
    if not path:
        refuse(variable, "must name the file that holds the secret")
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        refuse(variable, f"cannot be read: {error.strerror}")
    if not value:
        refuse(variable, "is an empty file")
    return value
