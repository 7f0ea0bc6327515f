"""The databases that a service sees, and the applications whose tables live in each.

One PostgreSQL cluster holds a database for each context. libpq finds the primary and the replicas
by itself (`target_session_attrs`), so there is no proxy between Django and PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shop.services import APIS, SERVICES, SHOP, Service

from config import environment

MAIN = ("postgres-1", "postgres-2", "postgres-3")
SHARD_HOSTS = (("shard-1",), ("shard-2",))  # shard 0 is on the main servers

_SERVED = {name for name in APIS if SERVICES[name].database == SHOP}
# `label` stands for all tables of an application, `label.model` for one table.
SHOP_APPS = frozenset({"sessions", "stateless", "storefront", "events"}) | _SERVED
MAP_APPS = frozenset({"sharding.bucketmap", "sharding.mapversion", "sharding.move", "sharding.movebucket", "events"})
SHARD_APPS = frozenset({"sharding.shardidentity", "sharding.bucket", "sharding.change", "events"})


def _tables(service: Service) -> tuple[frozenset[str], frozenset[str]]:
    """Return what a service keeps in its own database, and what in its shards."""
    if service.sharded:
        return MAP_APPS | service.own, SHARD_APPS | service.shards
    return frozenset({service.name, *(["events"] if service.tasks else [])}), frozenset()


# Of each service that has a database of its own.
CONTEXTS = {name: _tables(one) for name, one in SERVICES.items() if one.database != SHOP}


@dataclass(frozen=True)
class Databases:
    """Django's DATABASES, for each alias the applications or models that are migrated there, and
    the shards.

    `shards`: by the alias of the database that holds a map, the alias of each shard by its number.
    """

    settings: dict[str, dict[str, Any]]
    apps: dict[str, frozenset[str]]
    shards: dict[str, dict[int, str]] = field(default_factory=dict)


def _pool() -> dict[str, Any]:
    """Return the settings of a process's pool (psycopg_pool) for one alias."""
    return {
        "min_size": 0,
        "max_size": environment.integer("POOL_SIZE", 4, least=1, most=100),
        # Seconds that a request waits for a connection. With a second try it is answered 503 before
        # the load balancer gives up on it (2 s) and asks another replica, which would wait as long.
        "timeout": 1.5,
        # Connections are renewed, so that reads spread again after a failover.
        "max_lifetime": 300.0,
        "max_idle": 60.0,
        # Give up early: the next request tries again, and does not wait for a long backoff to end.
        "reconnect_timeout": 2.0,
    }


# Only the replay of the primary's log locks out a reader on a standby: a migration, or a VACUUM
# that truncates a table. After so many milliseconds the read runs once more, on the primary.
REPLAY_LOCK = " -c lock_timeout=500"


def _database(name: str, owner: str, role: str, hosts: tuple[str, ...], attributes: str) -> dict[str, Any]:
    """Return the settings of one alias: database `name`, opened as the role `<owner>_<role>`."""
    return {
        "ENGINE": "scaleout.replication.backend",
        "NAME": name,
        "USER": f"{owner}_{role}",
        "PASSWORD": environment.secret(f"DB_{owner.upper()}_PASSWORD"),
        "HOST": ",".join(hosts),
        "PORT": ",".join(["5432"] * len(hosts)),
        # With a pool this switches on the check of a connection before it is lent.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "target_session_attrs": attributes,
            # Seconds for each host; libpq's minimum is 2. A lost host costs seconds, not minutes.
            "connect_timeout": 2,
            "tcp_user_timeout": 3000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            # The networks between the containers are internal: no TLS, so no round trip to ask for
            # it.
            "sslmode": "disable",
            "gssencmode": "disable",
            # A process that freezes inside a transaction holds its locks no longer than this
            # (milliseconds).
            "options": "-c idle_in_transaction_session_timeout=3000" if role == "app" else "",
            "application_name": f"{environment.text('SERVICE', 'app')}",
            # A command runs one statement after the other: only a server needs a pool.
            "pool": _pool() if role == "app" else False,
        },
    }


def _main() -> tuple[str, ...]:
    """Return the servers of the main cluster; those of EXTRA_REPLICAS (host names) were added to
    it.
    """
    return (*MAIN, *environment.words("EXTRA_REPLICAS"))


def _own(context: str, role: str) -> dict[str, dict[str, Any]]:
    """Return the aliases of a context's own database: the primary, and a replica for each further
    server.
    """
    hosts = _main()
    aliases = {"default": _database(context, context, role, hosts, "read-write")}
    for number in range(1, len(hosts)):
        # Each replica alias goes to a standby of its own, and to any standby, then the primary,
        # where that is down.
        nearest = hosts[number:] + hosts[:number]
        replica = _database(context, context, role, nearest, "prefer-standby")
        if role == "app":
            replica["OPTIONS"]["options"] += REPLAY_LOCK
        aliases[f"replica{number}"] = replica | {"STANDBY": number - 1}
    return aliases


def _shards(context: str, role: str, prefix: str) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return the alias (`<prefix><number>`) and the settings of each shard of `context`, by number.

    The shards of EXTRA_SHARDS (host names, numbered from 3) hold nothing until buckets are moved to
    them.
    """
    hosts = [_main(), *SHARD_HOSTS, *((host,) for host in environment.words("EXTRA_SHARDS"))]
    return {
        number: (f"{prefix}{number}", _database(f"{context}_shard_{number}", context, role, host, "read-write"))
        for number, host in enumerate(hosts)
    }


def _context(context: str) -> Databases:
    """Return the databases of a service that has its own, with the shards where its rows are
    sharded.
    """
    own_apps, shard_apps = CONTEXTS[context]
    if not shard_apps:
        return Databases(settings=_own(context, "app"), apps={"default": own_apps})
    shards = _shards(context, "app", "shard")
    return Databases(
        settings=_own(context, "app") | dict(shards.values()),
        apps={"default": own_apps} | {alias: shard_apps for alias, _ in shards.values()},
        shards={"default": {number: alias for number, (alias, _) in shards.items()}},
    )


def _migrate() -> Databases:
    """Return every database of every context, each opened by its owner, for the one-shot
    `migrate`.
    """
    settings = {"default": _database("shop", "shop", "owner", _main(), "read-write")}
    apps = {"default": SHOP_APPS}
    shards = {}
    for context, (own_apps, shard_apps) in CONTEXTS.items():
        settings[context] = _database(context, context, "owner", _main(), "read-write")
        apps[context] = own_apps
        if not shard_apps:
            continue
        aliases = _shards(context, "owner", f"{context}_shard_")
        settings |= dict(aliases.values())
        apps |= {alias: shard_apps for alias, _ in aliases.values()}
        shards[context] = {number: alias for number, (alias, _) in aliases.items()}
    return Databases(settings, apps, shards)


def databases(service: str) -> Databases:
    """Return the databases of `service`."""
    if service == "build":  # collectstatic while the image is built: there is no database
        return Databases({}, {})
    if service == "migrate":
        return _migrate()
    context = service.removesuffix("-worker")
    if context in CONTEXTS:
        return _context(context)
    return Databases(settings=_own("shop", "app"), apps={"default": SHOP_APPS})
