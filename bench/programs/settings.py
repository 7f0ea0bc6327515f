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

PARTS = os.environ.get("BENCH_SHARDS", "").split()
_PASSWORD = Path(os.environ["BENCH_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()


def database(host: str, *, port: int = 5432, **more: Any) -> dict[str, Any]:
    """Return the settings of an alias with the stack's pool (app/config/databases.py)."""
    pool = {"min_size": 0, "max_size": 16, "timeout": 5.0, "max_lifetime": 300.0, "max_idle": 60.0}
    return {
        "ENGINE": "scaleout.replication.backend",
        "NAME": "postgres",
        "USER": "bench",
        "PASSWORD": _PASSWORD,
        "HOST": host,
        "PORT": str(port),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 2, "sslmode": "disable", "gssencmode": "disable", "pool": pool},
    } | more


def bare(host: str, *, port: int = 5432, age: int | None = 0, **more: Any) -> dict[str, Any]:
    """Return the settings of an alias of Django's own backend: no pool, connections kept for `age`
    seconds.
    """
    settings = database(host, port=port, ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=age, **more)
    settings["OPTIONS"] = settings["OPTIONS"] | {"pool": False}
    return settings


QUEUE_URL = f"redis://worker:{Path(os.environ['BENCH_QUEUE_FILE']).read_text(encoding='utf-8').strip()}@queue:6379/0"
EVENTS = {
    "CONSUMERS": {"row_made": ["programs.events.handle"]},
    "HEADERS": "scaleout.observability.trace.headers",
}

_SHARDS = {number: f"shard{number}" for number in range(len(PARTS))}
SHARDING = {"SHARDS": _SHARDS}
DATABASES = {
    "default": database("primary"),
    "new": bare("primary", CONN_HEALTH_CHECKS=False),
    "persistent": bare("primary", age=None, CONN_HEALTH_CHECKS=False),
    "checked": bare("primary", age=None),
    "django": database("primary", ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=0),
    "pool": database("primary"),
    "through": database("pgbouncer", port=6432),
    "through, new": bare("pgbouncer", port=6432, CONN_HEALTH_CHECKS=False),
    "through, persistent": bare("pgbouncer", port=6432, age=None, CONN_HEALTH_CHECKS=False),
    **{alias: database(PARTS[number]) for number, alias in _SHARDS.items()},
}
_OWN, _SHARDED = CONTEXTS["users"]
DATABASE_APPS = {"default": _OWN, **dict.fromkeys(_SHARDS.values(), _SHARDED)}
DATABASE_ROUTERS = ["config.routers.OwnershipRouter", "scaleout.sharding.router.ShardRouter"]
REPLICATION: dict[str, list[str]] = {"REPLICAS": []}
