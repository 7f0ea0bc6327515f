"""The settings of this package: the dictionary `HEALTH`."""

from __future__ import annotations

from dataclasses import dataclass

from scaleout.base.conf import Conf, Dotted, Name


@dataclass(frozen=True)
class Settings:
    """The keys of `HEALTH`, in small letters."""

    databases: Dotted
    """A function without arguments that returns a Condition, from memory."""

    drain_marker: Name
    """The path of a file that exists while this replica drains."""


conf = Conf("HEALTH", Settings)
