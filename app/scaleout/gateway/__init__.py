"""One entry for all services: `/api/<service>/<path>` goes to that service's same path,
unchanged.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.gateway.exchange import Request
    from scaleout.gateway.service import Policy, Service
    from scaleout.gateway.views import forward

__all__ = [
    "Policy",
    "Request",
    "Service",
    "forward",
]
_HOMES = {
    "Policy": "service",
    "Request": "exchange",
    "Service": "service",
    "forward": "views",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
