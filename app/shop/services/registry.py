"""The services, each described once. Settings derive from this list; compose.yaml, Prometheus and
the scripts are checked against it by tests/test_services.py. docs/add-a-service.md is the checklist
for a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

SHOP = "shop"  # the database of what is not sharded


@dataclass(frozen=True)
class Service:
    """One service. `database`: the context that it opens; `calls`: the services that it may
    call.
    """

    name: str
    port: int
    database: str = SHOP
    api: bool = True  # served below /api/<name>/, by the gateway as well
    sharded: bool = False
    issues_tokens: bool = False  # so it has a key of its own: needed to call another service
    caches_pages: bool = False  # keeps values of the catalogue in Redis, for others that do
    calls: frozenset[str] = frozenset()

    @property
    def has_worker(self) -> bool:
        """Whether it has a worker and queues of its own: no other worker has the password of its
        database.
        """
        return self.database != SHOP

    @property
    def worker(self) -> str:
        """The name of the service that runs its tasks."""
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
# The queues of each, "<owner>.<kind>": what became of its events, events for it, ordinary tasks,
# and events of which there are many. A worker takes from them in this order.
KINDS = ("answers", "events", "tasks", "bulk")
# The one queue that the release before this one has. Workers still read it; remove it with the next
# release.
BEFORE = {SHOP: "celery", **{name: name for name in WORKERS}}
QUEUES = (*(f"{owner}.{kind}" for owner in OWNERS for kind in KINDS), *BEFORE.values())
SHARDED = frozenset(one.database for one in SERVICES.values() if one.sharded)
CACHING = (*(name for name, one in SERVICES.items() if one.caches_pages), "worker")
# What a container can be: the values of SERVICE.
CHOICES = (*SERVICES, "worker", *(SERVICES[name].worker for name in WORKERS), "beat", "migrate", "build")
# Those that use the cache: redis/cache.users says for what.
CACHE_USERS = (*SERVICES, "worker", "users-worker", "migrate")


# Those that sign the events of their context: who writes its outbox from requests, and who relays
# it.
EVENT_SIGNERS = ("users", "users-worker", "orders", "orders-worker", "products", "worker")
# Those that receive events, and whose.
EVENT_SOURCES = {"worker": ("orders",), "orders-worker": ("users", "shop")}


def context(service: str) -> str:
    """Return whose databases `service` opens: users, orders, or shop."""
    own = service.removesuffix("-worker")
    return own if own in WORKERS else SHOP


def owner_of(task: str) -> str:
    """Return whose workers run the task with this name."""
    return context(task.partition(".")[0])


def queues(of: str) -> list[str]:
    """Return the queues that the workers of an owner read."""
    return [*(f"{of}.{kind}" for kind in KINDS), BEFORE[of]]


def address(service: str) -> str:
    """Return the URL of a service, without a path. Docker's DNS answers with all of its
    replicas.
    """
    return f"http://{service}:{PORTS[service]}"


def callers(service: str) -> frozenset[str]:
    """Return the services that may call `service`."""
    return frozenset(name for name, one in SERVICES.items() if service in one.calls)
