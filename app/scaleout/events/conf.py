"""The settings of this package: the dictionary `EVENTS`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.utils.module_loading import import_string

from scaleout.base.conf import Conf, Dotted, Name


@dataclass(frozen=True)
class Settings:
    """The keys of `EVENTS`, in small letters."""

    consumers: Mapping[Name, Collection[Name]]
    """By the name of an event, the names of the Celery tasks that receive it."""

    queue: Name = "celery"
    """The queue in which this service's workers learn that an event was received. If it is
    "<service>.answers", the answers to publish_many go to "<service>.bulk"."""

    queues: Collection[Name] | None = None
    """The queues whose lengths are measured: `queue` by default."""

    headers: Dotted | None = None
    """A function without arguments that returns headers, such as a trace: kept with each event, and
    sent with its message."""

    sign: Dotted | None = None
    """A function from bytes to their signature, or to None if this process has no key."""

    verify: Dotted | None = None
    """A function (event's name, bytes, signature) that returns whether its owner has signed."""


conf = Conf("EVENTS", Settings)


def current_headers() -> dict[str, str]:
    """Return the headers of what is published now."""
    path = conf().headers
    return import_string(path)() if path else {}
