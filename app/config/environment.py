"""Settings from the environment. A bad value stops the service with one line that names it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ORIGIN = re.compile(rf"https?://{_DOMAIN.pattern}(:[1-9][0-9]{{0,4}})?")
_ADDRESS = re.compile(rf"{_ORIGIN.pattern}(/[A-Za-z0-9._~-]+)*/?")


def refuse(name: str, reason: str) -> NoReturn:
    """Stop the process with exit code 64 (EX_USAGE): the value of `name` is bad because of
    `reason`.
    """
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


def origin(name: str, default: str = "") -> str:
    """Return `name`: a scheme, a host and an optional port, and no path. Empty if it is switched
    off.
    """
    value = os.environ.get(name, default).strip()
    if value and not _ORIGIN.fullmatch(value):
        refuse(name, "must be an address such as https://cdn.example.com, without a path")
    return value


def address(name: str) -> str:
    """Return `name`: the same with an optional path, without a slash at the end."""
    value = text(name, "")
    if value and not _ADDRESS.fullmatch(value):
        refuse(
            name, "must be an address such as https://shop-media.s3.example.com or https://s3.example.com/shop-media"
        )
    return value.rstrip("/")


def domain(name: str) -> str:
    """Return `name`: a host name, or nothing."""
    value = text(name, "")
    if value and not _DOMAIN.fullmatch(value):
        refuse(name, "must be a host name such as d111111abcdef8.cloudfront.net")
    return value


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
