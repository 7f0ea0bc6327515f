"""Events that are never lost: written with the change, sent after its commit, applied
exactly once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.events.application import Application
    from scaleout.events.event import Event
    from scaleout.events.inbox import consumer
    from scaleout.events.outbox import publish, publish_many

__all__ = [
    "Application",
    "Event",
    "consumer",
    "publish",
    "publish_many",
]
_HOMES = {
    "Application": "application",
    "Event": "event",
    "consumer": "inbox",
    "publish": "outbox",
    "publish_many": "outbox",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
