"""The registry of services: each is described once, here.

Settings, databases and queues derive from it. app/config/tests/test_registry.py checks compose.yaml
against it. docs/add-a-service.md is the checklist for a new service.
"""

from __future__ import annotations

from dataclasses import dataclass

SHOP = "shop"  # the database of the services that are not sharded


@dataclass(frozen=True)
class Service:
    """One service. `database`: the one that it opens, its own or the shop's. `calls`: services that
    it may call.

    In its own database and without shards it has all tables of its package. Otherwise `own` names
    the models in its database and `shards` those in its shards.
    """

    name: str
    port: int
    database: str = SHOP
    api: bool = True  # the gateway also serves it below /api/<name>/
    own: frozenset[str] = frozenset()
    shards: frozenset[str] = frozenset()
    tasks: bool = True  # has tasks or events: with a database of its own it then has a worker too
    issues_tokens: bool = False  # has its own signing key, which a call to another service needs
    caches_pages: bool = False  # shares cached values of the catalogue in Redis
    calls: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.database not in (SHOP, self.name):
            raise ValueError(f"{self.name}: its database is {SHOP} or {self.name}, not {self.database}")

    @property
    def sharded(self) -> bool:
        """Whether its rows are spread over the shards."""
        return bool(self.shards)

    @property
    def has_worker(self) -> bool:
        """Whether it has its own worker and queues: only that worker has the password."""
        return self.database != SHOP and self.tasks

    @property
    def has_queue(self) -> bool:
        """Whether it may put tasks and events into a queue."""
        return self.database == SHOP or self.tasks

    @property
    def worker(self) -> str:
        """The name of the worker service that runs its tasks."""
        return f"{self.name}-worker" if self.has_worker else "worker"


SERVICES = {
    one.name: one
    for one in (
        Service("web", 8000, api=False, caches_pages=True),
        Service(
            "users",
            8001,
            "users",
            own=frozenset({"users.emaildirectory"}),
            shards=frozenset({"users.user", "users.login"}),
            issues_tokens=True,
            calls=frozenset({"orders"}),
        ),
        Service("products", 8002, caches_pages=True),
        Service(
            "orders",
            8003,
            "orders",
            own=frozenset({"orders.productname"}),
            shards=frozenset({"orders.order", "orders.orderitem", "orders.inbox"}),
            issues_tokens=True,
            calls=frozenset({"products"}),
        ),
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
WORKER_NAMES = ("worker", *(SERVICES[name].worker for name in WORKERS))
# The values of SERVICE.
CHOICES = (*SERVICES, *WORKER_NAMES, "beat", "migrate", "build")
# The services that use the cache, and the queue. redis/*.users has their rights.
CACHE_USERS = (*SERVICES, "worker", "users-worker", "migrate")
QUEUE_USERS = (*(name for name, one in SERVICES.items() if one.has_queue), *WORKER_NAMES, "beat", "migrate")
# The services that sign events: they write or relay the outbox of their context.
EVENT_SIGNERS = (*(name for name in APIS if SERVICES[name].has_queue), *WORKER_NAMES)
# The workers that receive events, and the contexts that publish them.
EVENT_SOURCES = {"worker": ("orders",), "orders-worker": ("users", "shop")}


def context(service: str) -> str:
    """Return whose databases `service` opens: its own, or the shop's."""
    own = SERVICES.get(service.removesuffix("-worker"))
    return own.database if own else SHOP


def owner_of(task: str) -> str:
    """Return whose workers run the task with this name."""
    owner = context(task.partition(".")[0])
    return owner if owner in OWNERS else SHOP


def queues(of: str) -> list[str]:
    """Return the queues that the workers of an owner read."""
    return [*(f"{of}.{kind}" for kind in KINDS), BEFORE[of]]


def address(service: str) -> str:
    """Return the URL of a service, without a path. Docker's DNS resolves it to all replicas."""
    return f"http://{service}:{PORTS[service]}"


def callers(service: str) -> frozenset[str]:
    """Return the services that may call `service`."""
    return frozenset(name for name, one in SERVICES.items() if service in one.calls)
