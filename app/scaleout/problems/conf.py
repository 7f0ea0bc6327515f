"""The settings of this package: the dictionary `PROBLEMS`."""

from __future__ import annotations

from dataclasses import dataclass

from scaleout.base.conf import Conf


@dataclass(frozen=True)
class Settings:
    """The keys of `PROBLEMS`, in small letters."""

    error_pages: bool = True
    """Whether a browser gets an error as a page. A service without pages has none."""

    require_if_match: bool = False
    """Whether a change without `If-Match` is answered 428."""


conf = Conf("PROBLEMS", Settings)
