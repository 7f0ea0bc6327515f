"""Settings of the in-process tests: real servers, started for the run by
scripts/with-servers.sh.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

_secrets = Path(tempfile.mkdtemp(prefix="test-secrets-"))
for _name in ("SECRET_KEY", "DB_SHOP_PASSWORD", "REDIS_CACHE_PASSWORD", "REDIS_QUEUE_PASSWORD", "CACHE_KEY"):
    (_secrets / _name).write_text("test")
    os.environ[f"{_name}_FILE"] = str(_secrets / _name)
os.environ["SERVICE"] = "web"

from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: E402 - the environment comes first
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from scaleout.identity import keys as _keys  # noqa: E402 - the environment comes first
from shop.services import ISSUERS  # noqa: E402 - the environment comes first

from config.databases import CONTEXTS  # noqa: E402 - the environment comes first
from config.settings import *  # noqa: E402, F403 - the environment comes first
from config.settings import (  # noqa: E402 - the environment comes first
    CACHES,
    CACHING,
    DATABASE_APPS,
    EVENTS,
    GATEWAY,
    IDENTITY,
    OBSERVABILITY,
    REPLICATION,
    SHARDING,
)


def database(name: str, engine: str = "django.db.backends.postgresql", **test: Any) -> dict[str, Any]:
    """Return the settings of a database of the server of this run."""
    return {
        "ENGINE": engine,
        "NAME": name,
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("PGUSER", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "TEST": test,
    }


# One context that holds everything: the shop, and the users and orders with the map of their
# shards.
_SHARDS = {number: f"shard{number}" for number in range(3)}
SHARDING |= {"SHARDS": _SHARDS, "GROUPS": {"default": _SHARDS}}
DATABASES = {
    "default": database("shop", "scaleout.replication.backend"),
    "replica1": database("shop", MIRROR="default"),
    "replica2": database("shop", MIRROR="default"),
    **{alias: database(f"all_shard_{number}", DEPENDENCIES=[]) for number, alias in _SHARDS.items()},
}
DATABASE_APPS = {
    "default": frozenset().union(DATABASE_APPS["default"], *(own for own, _ in CONTEXTS.values())),
    **dict.fromkeys(_SHARDS.values(), frozenset().union(*(sharded for _, sharded in CONTEXTS.values()))),
}
QUEUE_URL = f"redis+socket://{os.environ.get('TEST_REDIS', '/tmp/redis.sock')}?virtual_host=1"  # noqa: S108 - as below
for _alias in ("default", "limits"):
    CACHES[_alias]["LOCATION"] = f"unix://{os.environ.get('TEST_REDIS', '/tmp/redis.sock')}?db=0&client_name={_alias}"  # noqa: S108 - the run's own
    CACHES[_alias]["OPTIONS"]["PASSWORD"] = ""
# Hashed names need collectstatic; the live tests see them.
STORAGES = {
    # What is done with the store, without one; the live tests have a store.
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
EXPOSE_TOPOLOGY = True
SITE_HOSTS = ["testserver"]
GATEWAY["PROBE"] = ""  # the servers of these tests count what they are asked; those that are about it say so
REPLICA_NAME = "test-1"
OBSERVABILITY |= {"EXPOSE_TOPOLOGY": EXPOSE_TOPOLOGY, "REPLICA_NAME": REPLICA_NAME}
CACHING["EXPOSE_TOPOLOGY"] = REPLICATION["EXPOSE_TOPOLOGY"] = EXPOSE_TOPOLOGY
STATIC_ROOT = _secrets
# A hash that takes as long as it should would be most of what the tests of registration wait for.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


# Keys of this run, one pair a service that signs. Requests are served as `users` would.
def _pair() -> tuple[_keys.Signer, dict[str, Ed25519PublicKey]]:
    private = Ed25519PrivateKey.generate()
    kid = _keys.thumbprint(private.public_key())
    return _keys.Signer(kid, private), {kid: private.public_key()}


EVENTS |= {"SIGN": None, "VERIFY": None}  # the tests of signatures have keys of their own
KEYS = {issuer: _pair() for issuer in ISSUERS}
IDENTITY["KEYRING"] = _keys.keyring("users", KEYS["users"][0], {issuer: public for issuer, (_, public) in KEYS.items()})
