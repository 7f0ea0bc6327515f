"""The databases that a service sees, and the applications whose tables live in each.

One PostgreSQL cluster holds a database for each context. libpq finds the primary and the replicas
by itself (`target_session_attrs`), so there is no proxy between Django and PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config import environment

MAIN = ("postgres-1", "postgres-2", "postgres-3")
SHARD_HOSTS = (MAIN, ("shard-1",), ("shard-2",))

SHOP_APPS = frozenset({"sessions", "stateless", "products", "storefront"})
SHARD_APPS = frozenset({"sharding"})


@dataclass(frozen=True)
class Databases:
    """Django's DATABASES, and for each alias the labels of the applications that are migrated there."""

    settings: dict[str, dict[str, Any]]
    apps: dict[str, frozenset[str]]


def _pool() -> dict[str, Any]:
    """Return the settings of a process's pool (psycopg_pool) for one alias."""
    return {
        "min_size": 0,
        "max_size": environment.integer("POOL_SIZE", 4, least=1, most=100),
        # Seconds that a request waits for a connection. With a second try it is answered 503 before the load
        # balancer gives up on it (2 s) and asks another replica, which would wait as long.
        "timeout": 1.5,
        # Connections are renewed, so that reads spread again after a failover.
        "max_lifetime": 300.0,
        "max_idle": 60.0,
        # Give up early: the next request tries afresh, instead of waiting for a long backoff to end.
        "reconnect_timeout": 2.0,
    }


def _database(name: str, owner: str, role: str, hosts: tuple[str, ...], attributes: str) -> dict[str, Any]:
    """Return the settings of one alias: database `name`, opened as the role `<owner>_<role>`."""
    return {
        "ENGINE": "replication.backend",
        "NAME": name,
        "USER": f"{owner}_{role}",
        "PASSWORD": environment.secret(f"DB_{owner.upper()}_PASSWORD"),
        "HOST": ",".join(hosts),
        "PORT": ",".join(["5432"] * len(hosts)),
        # With a pool this is what switches on the check of a connection before it is lent.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "target_session_attrs": attributes,
            # Seconds for each host; libpq takes 2 as the least. A host that vanished costs seconds, not minutes.
            "connect_timeout": 2,
            "tcp_user_timeout": 3000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            # The networks between the containers are internal: no TLS, so no round trip to ask for it.
            "sslmode": "disable",
            "gssencmode": "disable",
            # A process that freezes inside a transaction holds its locks no longer than this (milliseconds).
            "options": "-c idle_in_transaction_session_timeout=3000" if role == "app" else "",
            "application_name": f"{environment.text('SERVICE', 'app')}",
            # A command runs one thing after the other: only a server needs a pool.
            "pool": _pool() if role == "app" else False,
        },
    }


def _from(hosts: tuple[str, ...], first: int) -> tuple[str, ...]:
    return hosts[first:] + hosts[:first]


def _shop(role: str) -> Databases:
    def shop(hosts: tuple[str, ...], attributes: str, **more: Any) -> dict[str, Any]:
        return _database("shop", "shop", role, hosts, attributes) | more

    return Databases(
        settings={
            "default": shop(MAIN, "read-write"),
            # Each replica alias goes to a standby of its own, and to any standby, then the primary, where that is down.
            "replica1": shop(_from(MAIN, 1), "prefer-standby", STANDBY=0),
            "replica2": shop(_from(MAIN, 2), "prefer-standby", STANDBY=1),
        },
        apps={"default": SHOP_APPS},
    )


def _migrate() -> Databases:
    """Return every database of every context, each opened by its owner, for the one-shot `migrate`."""
    settings = {"default": _database("shop", "shop", "owner", MAIN, "read-write")}
    apps = {"default": SHOP_APPS}
    for context in ("users", "orders"):
        settings[context] = _database(context, context, "owner", MAIN, "read-write")
        apps[context] = frozenset()
        for number, hosts in enumerate(SHARD_HOSTS):
            alias = f"{context}_shard_{number}"
            settings[alias] = _database(alias, context, "owner", hosts, "read-write")
            apps[alias] = SHARD_APPS
    return Databases(settings, apps)


def databases(service: str) -> Databases:
    """Return the databases of `service`."""
    if service == "build":  # collectstatic while the image is built: there is no database
        return Databases({}, {})
    return _migrate() if service == "migrate" else _shop("app")
