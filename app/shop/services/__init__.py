"""The services: which there are (`registry`), how they call each other (`calls`), what they offer (`api_docs`)."""

from shop.services.registry import APIS, CACHING, ISSUERS, PORTS, QUEUES, SHOP_QUEUE, WORKERS, address, queue

__all__ = ["APIS", "CACHING", "ISSUERS", "PORTS", "QUEUES", "SHOP_QUEUE", "WORKERS", "address", "queue"]
