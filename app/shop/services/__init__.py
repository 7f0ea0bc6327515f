"""The services: which there are (`registry`), how they call each other (`calls`), what they offer (`api_docs`)."""

from shop.services.registry import (
    APIS,
    CACHING,
    CHOICES,
    ISSUERS,
    PORTS,
    QUEUES,
    SERVICES,
    SHARDED,
    SHOP_QUEUE,
    WORKERS,
    Service,
    address,
    callers,
    queue,
)

__all__ = [
    "APIS",
    "CACHING",
    "CHOICES",
    "ISSUERS",
    "PORTS",
    "QUEUES",
    "SERVICES",
    "SHARDED",
    "SHOP_QUEUE",
    "WORKERS",
    "Service",
    "address",
    "callers",
    "queue",
]
