"""One entry for all services: `/api/<service>/<path>` goes to that service's same path,
unchanged.

`edge/` is the entry: it judges a request and passes it on. `client/` calls the replicas of a
service, for the entry and for services that call each other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.gateway.client import Policy, Request, Service, deadline
    from scaleout.gateway.client.adapter import AnswerTooLarge, BreakerOpen, Busy, ServiceAdapter
    from scaleout.gateway.client.deadline import DeadlineMiddleware
    from scaleout.gateway.client.draining import DrainingMiddleware
    from scaleout.gateway.client.session import ServiceSession
    from scaleout.gateway.edge.callers import by_address
    from scaleout.gateway.edge.views import forward, gateway

__all__ = [
    "AnswerTooLarge",
    "BreakerOpen",
    "Busy",
    "DeadlineMiddleware",
    "DrainingMiddleware",
    "Policy",
    "Request",
    "Service",
    "ServiceAdapter",
    "ServiceSession",
    "by_address",
    "deadline",
    "forward",
    "gateway",
]
_HOMES = {
    "AnswerTooLarge": "client.adapter",
    "BreakerOpen": "client.adapter",
    "Busy": "client.adapter",
    "DeadlineMiddleware": "client.deadline",
    "DrainingMiddleware": "client.draining",
    "Policy": "client",
    "Request": "client",
    "Service": "client",
    "ServiceAdapter": "client.adapter",
    "ServiceSession": "client.session",
    "by_address": "edge.callers",
    "deadline": "client",
    "forward": "edge.views",
    "gateway": "edge.views",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
