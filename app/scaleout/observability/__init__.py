"""One id for a request and all that it causes, logs as JSON, and metrics of every process."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.observability.logs import configuration
    from scaleout.observability.metrics import MetricsMiddleware
    from scaleout.observability.middleware import RequestIdMiddleware
    from scaleout.observability.replica import replica_name
    from scaleout.observability.trace import Span, headers

__all__ = [
    "MetricsMiddleware",
    "RequestIdMiddleware",
    "Span",
    "configuration",
    "headers",
    "replica_name",
]
_HOMES = {
    "MetricsMiddleware": "metrics",
    "RequestIdMiddleware": "middleware",
    "Span": "trace",
    "configuration": "logs",
    "headers": "trace",
    "replica_name": "replica",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
