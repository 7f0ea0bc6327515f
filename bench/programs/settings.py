"""The toolkit's own backend, routers and maps over the bench's servers, which the harness names in
the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from config.databases import CONTEXTS

SECRET_KEY = "bench"  # noqa: S105 - signs nothing
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["scaleout.events", "scaleout.replication", "scaleout.sharding", "shop.users"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "programs.views"
USE_TZ = True
LOGGING_CONFIG = None

MAIN = os.environ["BENCH_MAIN"].split()  # a primary, and its standbys
PARTS = os.environ.get("BENCH_SHARDS", "").split()
_PASSWORD = Path(os.environ["BENCH_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()


def database(hosts: list[str], *, port: int = 5432, **more: Any) -> dict[str, Any]:
    """Return the settings of an alias with the stack's pool (app/config/databases.py)."""
    pool = {"min_size": 0, "max_size": 16, "timeout": 5.0, "max_lifetime": 300.0, "max_idle": 60.0}
    return {
        "ENGINE": "scaleout.replication.backend",
        "NAME": "postgres",
        "USER": "bench",
        "PASSWORD": _PASSWORD,
        "HOST": ",".join(hosts),
        "PORT": ",".join([str(port)] * len(hosts)),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 2, "sslmode": "disable", "gssencmode": "disable", "pool": pool},
    } | more


def bare(host: str, *, port: int = 5432, age: int | None = 0, **more: Any) -> dict[str, Any]:
    """Return the settings of an alias of Django's own backend: no pool, connections kept for `age`
    seconds.
    """
    settings = database([host], port=port, ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=age, **more)
    settings["OPTIONS"] = settings["OPTIONS"] | {"pool": False}
    return settings


QUEUE_URL = f"redis://worker:{Path(os.environ['BENCH_QUEUE_FILE']).read_text(encoding='utf-8').strip()}@queue:6379/0"
EVENTS = {
    "CONSUMERS": {"row_made": ["programs.events.handle"]},
    "HEADERS": "scaleout.observability.trace.headers",
}

SHARDS = {number: f"shard{number}" for number in range(len(PARTS))}
SHARD_GROUPS = {"default": SHARDS}
DATABASES = {
    "default": database(MAIN),
    "new": bare(MAIN[0], CONN_HEALTH_CHECKS=False),
    "persistent": bare(MAIN[0], age=None, CONN_HEALTH_CHECKS=False),
    "checked": bare(MAIN[0], age=None),
    "django": database([MAIN[0]], ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=0),
    "pool": database([MAIN[0]]),
    "through": database(["pgbouncer"], port=6432),
    "through, new": bare("pgbouncer", port=6432, CONN_HEALTH_CHECKS=False),
    "through, persistent": bare("pgbouncer", port=6432, age=None, CONN_HEALTH_CHECKS=False),
    **{alias: database([PARTS[number]]) for number, alias in SHARDS.items()},
}
for _alias, _settings in DATABASES.items():  # so that the server can tell whose connections it has
    _settings["OPTIONS"]["application_name"] = _alias
_OWN, _SHARDED = CONTEXTS["users"]
DATABASE_APPS = {"default": _OWN, **dict.fromkeys(SHARDS.values(), _SHARDED)}
DATABASE_ROUTERS = ["config.routers.OwnershipRouter", "scaleout.sharding.router.ShardRouter"]
REPLICATION = {"REPLICAS": []}
EXPOSE_TOPOLOGY = False
