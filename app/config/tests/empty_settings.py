"""The databases of the one-shot `migrate`, as empty databases of the tests' own server: for
test_prepare.py.
"""

from __future__ import annotations

from config import test_settings
from config.databases import CONTEXTS, SHOP_APPS
from config.test_settings import *  # noqa: F403

PREFIX = "empty_"
DATABASE_APPS = {"default": SHOP_APPS}
_groups = {}
for _context, (_own, _sharded) in CONTEXTS.items():
    DATABASE_APPS[_context] = _own
    if _sharded:
        _groups[_context] = {number: f"{_context}_shard_{number}" for number in range(3)}
        DATABASE_APPS |= dict.fromkeys(_groups[_context].values(), _sharded)
DATABASES = {alias: test_settings.database(f"{PREFIX}{alias}") for alias in DATABASE_APPS}
SHARDING = test_settings.SHARDING | {"SHARDS": {}, "GROUPS": _groups}
REPLICATION = {"REPLICAS": []}
