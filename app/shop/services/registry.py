"""The services, and where each is reached inside."""

from __future__ import annotations

PORTS = {"web": 8000, "users": 8001, "products": 8002, "orders": 8003}
APIS = ("users", "products", "orders")
# Those that sign tokens, and so have a key of their own: users says who a user is, and both call other services.
ISSUERS = ("users", "orders")

# Those whose databases no other service opens have a worker, and a queue, of their own; the shop's is Celery's own.
WORKERS = ("users", "orders")
SHOP_QUEUE = "celery"
QUEUES = (SHOP_QUEUE, *WORKERS)


# Those that keep values of the catalogue and its pages in Redis, for each other.
CACHING = ("web", "products", "worker")


def queue(service: str) -> str:
    """Return the queue of the workers that open the same databases as `service`."""
    context = service.removesuffix("-worker")
    return context if context in WORKERS else SHOP_QUEUE


def address(service: str) -> str:
    """Return the URL of a service, without a path. Docker's DNS answers with all of its replicas."""
    return f"http://{service}:{PORTS[service]}"
