"""The registry of services: each is described once, here.

Settings derive from it. tests/test_services.py checks compose.yaml, Prometheus and the scripts
against it. docs/add-a-service.md is the checklist for a new service.
"""

from __future__ import annotations

from dataclasses import dataclass

SHOP = "shop"  # the database of the services that are not sharded


@dataclass(frozen=True)
class Service:
    """One service. `database`: the context that it opens. `calls`: services that it may call."""

    name: str
    port: int
    database: str = SHOP
    api: bool = True  # the gateway also serves it below /api/<name>/
    sharded: bool = False
    issues_tokens: bool = False  # has its own signing key, which a call to another service needs
    caches_pages: bool = False  # shares cached values of the catalogue in Redis
    calls: frozenset[str] = frozenset()

    @property
    def has_worker(self) -> bool:
        """Whether it has its own worker and queues: only that worker has the password."""
        return self.database != SHOP

    @property
    def worker(self) -> str:
        """The name of the worker service that runs its tasks."""
        return f"{self.name}-worker" if self.has_worker else "worker"


SERVICES = {
    one.name: one
    for one in (
        Service("web", 8000, api=False, caches_pages=True),
        Service("users", 8001, "users", sharded=True, issues_tokens=True, calls=frozenset({"orders"})),
        Service("products", 8002, caches_pages=True),
        Service("orders", 8003, "orders", sharded=True, issues_tokens=True, calls=frozenset({"products"})),
    )
}

PORTS = {name: one.port for name, one in SERVICES.items()}
APIS = tuple(name for name, one in SERVICES.items() if one.api)
ISSUERS = tuple(name for name, one in SERVICES.items() if one.issues_tokens)
WORKERS = tuple(name for name, one in SERVICES.items() if one.has_worker)
OWNERS = (SHOP, *WORKERS)
# The queues of an owner, "<owner>.<kind>": acknowledgements of its events, events for it, ordinary
# tasks, and bulk events. A worker reads them in this order.
KINDS = ("answers", "events", "tasks", "bulk")
# The single queue of the previous release. Workers still read it; remove it with the next release.
BEFORE = {SHOP: "celery", **{name: name for name in WORKERS}}
QUEUES = (*(f"{owner}.{kind}" for owner in OWNERS for kind in KINDS), *BEFORE.values())
SHARDED = frozenset(one.database for one in SERVICES.values() if one.sharded)
CACHING = (*(name for name, one in SERVICES.items() if one.caches_pages), "worker")
# The values of SERVICE.
CHOICES = (*SERVICES, "worker", *(SERVICES[name].worker for name in WORKERS), "beat", "migrate", "build")
# The services that use the cache. redis/cache.users has their rights.
CACHE_USERS = (*SERVICES, "worker", "users-worker", "migrate")


# The services that sign events: they write or relay the outbox of their context.
EVENT_SIGNERS = ("users", "users-worker", "orders", "orders-worker", "products", "worker")
# The workers that receive events, and the contexts that publish them.
EVENT_SOURCES = {"worker": ("orders",), "orders-worker": ("users", "shop")}


def context(service: str) -> str:
    """Return the context whose databases `service` opens: users, orders, or shop."""
    own = service.removesuffix("-worker")
    return own if own in WORKERS else SHOP


def owner_of(task: str) -> str:
    """Return the owner of the workers that run the task with this name."""
    return context(task.partition(".")[0])


def queues(of: str) -> list[str]:
    """Return the queues that the workers of an owner read."""
    return [*(f"{of}.{kind}" for kind in KINDS), BEFORE[of]]


def address(service: str) -> str:
    """Return the URL of a service, without a path. Docker's DNS resolves it to all replicas."""
    return f"http://{service}:{PORTS[service]}"


def callers(service: str) -> frozenset[str]:
    """Return the services that may call `service`."""
    return frozenset(name for name, one in SERVICES.items() if service in one.calls)
