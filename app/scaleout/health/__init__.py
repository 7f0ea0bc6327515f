"""The health of this replica, known before a request for it: threads probe, so no answer waits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.health.middleware import HealthMiddleware
    from scaleout.health.monitor import Monitor, Probe
    from scaleout.health.probes import CacheProbe

__all__ = [
    "CacheProbe",
    "HealthMiddleware",
    "Monitor",
    "Probe",
]
_HOMES = {
    "CacheProbe": "probes",
    "HealthMiddleware": "middleware",
    "Monitor": "monitor",
    "Probe": "monitor",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
