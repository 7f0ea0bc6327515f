"""The services, and where each is reached inside."""

from __future__ import annotations

PORTS = {"web": 8000, "users": 8001, "products": 8002, "orders": 8003}
APIS = ("users", "products", "orders")
# Those that sign tokens, and so have a key of their own: users says who a user is, and both call other services.
ISSUERS = ("users", "orders")


def address(service: str) -> str:
    """Return the URL of a service, without a path. Docker's DNS answers with all of its replicas."""
    return f"http://{service}:{PORTS[service]}"
