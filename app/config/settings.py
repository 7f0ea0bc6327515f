"""Settings of every service, from the environment. `.env.example` explains each knob."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex
from typing import Any

from scaleout import dns
from scaleout.observability import logs
from scaleout.observability.replica import replica_name
from shop import services

from config import environment, event_keys, stores
from config.databases import SHOP_APPS, databases
from config.identity import keyring
from config.release import release
from config.static_url import static_origin

dns.install()

BASE_DIR = Path(__file__).resolve().parent.parent
SERVICE = environment.choice("SERVICE", "web", services.CHOICES)
_API = SERVICE in services.APIS
_BUILD = SERVICE == "build"  # collectstatic while the image is built: no secrets, no database

DEBUG = environment.flag("DEBUG")
EXPOSE_TOPOLOGY = environment.flag("EXPOSE_TOPOLOGY")
# Signs sessions. The services have none, so they need no secret that would let them forge one.
SECRET_KEY = environment.secret("SECRET_KEY") if SERVICE in ("web", "worker", "beat", "migrate") else token_hex()
REPLICA_NAME = "build" if _BUILD else replica_name()
# The load balancer refuses other hosts as well; empty means any, which is for the demo only. A
# service is called by its name in the network, and by the gateway, which has looked at the host.
SITE_HOSTS = environment.words("ALLOWED_HOSTS")
ALLOWED_HOSTS = ["*"] if _API else SITE_HOSTS or ["*"]
# bin/entrypoint makes this file when the container gets SIGTERM.
DRAIN_MARKER = "/run/app/draining"

INSTALLED_APPS = [
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_prometheus",
    "ninja",  # for its files of Swagger UI
    "config",
    "scaleout.caching",
    "scaleout.cdn",
    "scaleout.events",
    "scaleout.gateway",
    "scaleout.health",
    "scaleout.identity",
    "scaleout.observability",
    "scaleout.problems",
    "scaleout.replication",
    "scaleout.sharding",
    "scaleout.shedding",
    "shop.services",  # for the page of its documents
    "shop.shared_state",
    "shop.storefront",
    *(f"shop.{name}" for name in services.APIS),
]

MIDDLEWARE = [
    "shop.serving.body.DrainBodyMiddleware",
    "scaleout.observability.middleware.RequestIdMiddleware",
    "scaleout.health.middleware.HealthMiddleware",
    *(["scaleout.shedding.SheddingMiddleware"] if SERVICE == "web" else []),
    "scaleout.cdn.middleware.CdnMiddleware",  # outside of what sets cookies, and of what makes problems of errors
    "scaleout.problems.middleware.ProblemMiddleware",
    "shop.serving.body.WholeBodyMiddleware",
    # The services keep to the deadline that the gateway sets; at the site's edge anyone could send
    # one.
    *([] if SERVICE == "web" else ["scaleout.gateway.DrainingMiddleware", "scaleout.gateway.DeadlineMiddleware"]),
    "scaleout.observability.metrics.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "shop.serving.page_policy.PagePolicyMiddleware",
    "shop.serving.cross_site.CrossSiteMiddleware",
    "shop.serving.static.StaticMiddleware",
    "scaleout.replication.middleware.ReplicationMiddleware",
    "scaleout.caching.middleware.CacheLevelMiddleware",
    "shop.shared_state.sessions.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    # What a project's own pages need (django.contrib's, CSRF) stands here.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if _API:  # no pages: no static files, no forms, and the table of the sessions is another service's
    _pages = (
        "shop.serving.static.",
        "shop.serving.page_policy.",
        "shop.serving.cross_site.",
        "shop.shared_state.",
        "django.contrib.",
        "django.middleware.csrf.",
    )
    MIDDLEWARE = [one for one in MIDDLEWARE if not one.startswith(_pages)]
    # The admin is pages, and its checks want their middleware. Its tables stay migrate's; auth's
    # may be referred to.
    INSTALLED_APPS = [one for one in INSTALLED_APPS if not one.startswith("django.contrib.admin")]

ROOT_URLCONF = "config.service_urls" if _API else "config.urls"
APPEND_SLASH = not _API
PROBLEMS: dict[str, Any] = {
    "ERROR_PAGES": not _API,  # whether a browser gets errors as pages
    "REQUIRE_IF_MATCH": environment.flag("REQUIRE_IF_MATCH"),
}
HEALTH: dict[str, Any] = {
    "DATABASES": "scaleout.replication.condition.condition",
    "DRAIN_MARKER": DRAIN_MARKER,
}
# What may wait how long before it is refused: search goes first, logins and orders last. Health is
# answered before.
SHEDDING: dict[str, Any] = {
    "TRY_SECONDS": 2.0,  # as nginx/forward.conf and haproxy/haproxy.cfg
    "KINDS": {
        "search": {"paths": ["/search/"], "seconds": 0.5},
        "orders": {"paths": ["/api/orders/", "/api/users/"], "seconds": 1.5},
        "pages": {"paths": ["/"], "seconds": 1.0},
    },
}
# What a new worker asks itself for before it serves.
WARM_UP_PATHS = {"web": ["/"], "products": ["/api/products/"]}.get(SERVICE, [f"/api/{SERVICE}/openapi.json"])
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

# ── databases ─────────────────────────────────────────────────────────────────────────────────────
_databases = databases(SERVICE)
DATABASES = _databases.settings
DATABASE_APPS = _databases.apps
# The first router to answer wins: a sharded model never reaches the replicas.
DATABASE_ROUTERS = [
    "config.routers.OwnershipRouter",
    "scaleout.sharding.router.ShardRouter",
    "scaleout.replication.router.ReplicaRouter",
]
SHARDING: dict[str, Any] = {
    "SHARDS": _databases.shards.get("default", {}),
    "GROUPS": _databases.shards,
    # A bucket moves only when none of its events is left here: later ones would overtake them from
    # the new shard.
    "OUTBOX": "events.Outbox",
}
_threads = environment.integer("WEB_THREADS", 4, least=1, most=64)
REPLICATION: dict[str, Any] = {
    "REPLICAS": [alias for alias in DATABASES if alias.startswith("replica")],
    "PRIMARY_READ_APPS": ["sessions"],  # a session follows its browser: it may never be read a moment old
    "GUARD": environment.flag("REPLICATION_GUARD"),
    "WRITERS": max(1, _threads - 1),
    # No cache keeps positions for clients that send none: users and orders read from the primaries
    # of the shards, products are read through the cache.
    "POSITIONS": None,
    "USER": "scaleout.identity.bearer.user_key",
    "EXPOSE_TOPOLOGY": EXPOSE_TOPOLOGY,
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ── identity ──────────────────────────────────────────────────────────────────────────────────────
IDENTITY: dict[str, Any] = {
    "KEYRING": keyring(SERVICE),  # what this service signs with, and whose signatures it believes
    "CACHE": "limits",  # where the logins that have ended are listed
}
PASSWORD_HASHERS = ["scaleout.identity.passwords.Argon2"]
# Besides the least length, which the OpenAPI document has.
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "name")},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Registrations of one client in an hour, 0 for any number; and whether an address that is taken is
# answered 409.
USERS_REGISTRATIONS = environment.integer("REGISTRATION_LIMIT", 3000, least=0, most=1_000_000)
USERS_TELLS_ADDRESSES = environment.flag("REGISTRATION_TELLS", default=True)

# ── cache and sessions ────────────────────────────────────────────────────────────────────────────
# Each service is a user of its own (redis/*.users); those that need no cache have no password for
# it.
_cache_password = environment.secret("REDIS_CACHE_PASSWORD") if SERVICE in services.CACHE_USERS else ""
CACHES: dict[str, dict[str, Any]] = {
    "default": stores.cache(SERVICE, _cache_password, 0.25),
    # For what is counted at each request: uncounted rather than late.
    "limits": stores.cache(SERVICE, _cache_password, 0.05),
    # Of each process: a replica has WEB_WORKERS of them.
    "local": {
        "BACKEND": "scaleout.caching.local.LocalCache",
        "OPTIONS": {"MAX_ENTRIES": 5000, "MAX_BYTES": 16 * 1024 * 1024},
    },
}
CACHING: dict[str, Any] = {
    "SOURCE": "shop.serving.cache_source",
    # Seals what the services that share values put there. Each other service has a key of its own,
    # and shares nothing.
    "KEY": environment.secret("CACHE_KEY") if SERVICE in services.CACHING else token_hex(),
    "PICKLES": False,  # pages and answers are text: a pickle in Redis could only be forged
    # A service without pages cannot render the links in them, and web may not write the answers of
    # products (redis/cache.users). The worker warms all.
    "WARMERS": {"products": ["products-api"], "web": ["front-page", "categories", "featured-products"]}.get(SERVICE),
    "EXPOSE_TOPOLOGY": EXPOSE_TOPOLOGY,
}
# In the database, so that losing Redis loses no session; read from the cache.
SESSION_ENGINE = "shop.shared_state.sessions"
# While replicas of the release before serve as well (shop/shared_state/sessions.py).
# scripts/roll.sh sets it.
OLD_SESSIONS = environment.flag("OLD_SESSIONS")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
HTTPS_ONLY = environment.flag("HTTPS_ONLY")  # the load balancer redirects, and says so to browsers (HSTS)
SESSION_COOKIE_SECURE = HTTPS_ONLY or environment.flag("SECURE_COOKIES")
# A browser takes a cookie of this name by https only, and from this host: no other host of the
# domain can set it.
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS_ONLY else "sessionid"
# A GET of these changes something, as the contract has it: another site may not let a browser ask
# for it.
CHANGED_BY_GET = {"/session/"}

# ── Celery ────────────────────────────────────────────────────────────────────────────────────────
QUEUE_URL, QUEUE_OPTIONS = (
    stores.queue(SERVICE, environment.secret("REDIS_QUEUE_PASSWORD")) if SERVICE in services.QUEUE_USERS else ("", {})
)

# ── events ────────────────────────────────────────────────────────────────────────────────────────
EVENTS: dict[str, Any] = {
    # The tasks that receive each event. Each task has the queues of its service's worker
    # (config/celery.py).
    "CONSUMERS": {
        "user_deleted": ["orders.tasks.handle_user_event"],
        "order_placed": ["products.tasks.handle_order_event"],
        "order_confirmed": ["orders.tasks.handle_stock_event"],
        "order_rejected": ["orders.tasks.handle_stock_event"],
        "product_changed": ["orders.tasks.handle_product_event"],
    },
    # The queue in which this service's workers learn that an event was received; for the events of
    # publish_many it is `.bulk` beside it.
    "QUEUE": f"{services.context(SERVICE)}.answers",
    # The queues whose lengths are measured.
    "QUEUES": [f"{services.context(SERVICE)}.{kind}" for kind in (*services.KINDS, "dead")],
    # Says which request an event follows from.
    "HEADERS": "scaleout.observability.trace.headers",
    "SIGN": "config.event_keys.sign",
    "VERIFY": "config.event_keys.verify",
}
# Whose each event is: another service's is refused (events/signing.py).
EVENTS_OWNERS = {
    "user_deleted": "users",
    "order_placed": "orders",
    "order_confirmed": "shop",
    "order_rejected": "shop",
    "product_changed": "shop",
}
EVENTS_KEYRING = event_keys.keyring(SERVICE)

# ── gateway ───────────────────────────────────────────────────────────────────────────────────────
_concurrency = max(1, _threads // 2)
GATEWAY: dict[str, Any] = {
    # The only list of the services behind /api/<service>/.
    "SERVICES": {name: services.address(name) for name in services.APIS},
    # Half of the threads, so that a service that hangs leaves the others.
    "CONCURRENCY": _concurrency,
    # So that one thread is left that neither calls nor waits.
    "WAITING": max(0, _threads - _concurrency - 1),
    "PROBE": "/health/",
    "RATE": environment.integer("RATE_LIMIT", 6000, least=0, most=1_000_000),
    "CALLER": "scaleout.gateway.by_address",
    "CACHE": "limits",
    "HEADERS": "scaleout.observability.trace.headers",  # says which request this is
    "DRAIN_MARKER": DRAIN_MARKER,
}

# ── CDN ───────────────────────────────────────────────────────────────────────────────────────────
# A service purges the edge if it owns the data of what is shown.
_CHANGES = DATABASE_APPS.get("default") == SHOP_APPS and not _BUILD
_purge_url = environment.origin("CDN_PURGE_URL") if _CHANGES else ""
CDN: dict[str, Any] = {
    "TAG_HEADER": environment.choice("CDN_TAG_HEADER", "Surrogate-Key", ["Surrogate-Key", "Cache-Tag"]),
    # An answer with one of these is its caller's own: it has the position of that caller's last
    # write.
    "PERSONAL_HEADERS": ["X-Read-After"],
    "PURGE_URL": _purge_url,
    "PURGE_SECRET": environment.secret("CDN_PURGE_SECRET") if _purge_url else "",
}

# ── images ────────────────────────────────────────────────────────────────────────────────────────
# Named as in django-storages. Only those who write have the secret; the others need to know
# MEDIA_URL alone.
_WRITES = SERVICE in ("products", "worker", "migrate")
AWS_S3_ENDPOINT_URL = environment.address("AWS_S3_ENDPOINT_URL") or None
AWS_S3_REGION_NAME = environment.text("AWS_S3_REGION_NAME", "us-east-1")
AWS_STORAGE_BUCKET_NAME = environment.text("AWS_STORAGE_BUCKET_NAME", "media")
AWS_S3_ADDRESSING_STYLE = environment.choice("AWS_S3_ADDRESSING_STYLE", "path", ["path", "virtual", "auto"])
AWS_S3_SIGNATURE_VERSION = "s3v4"
AWS_ACCESS_KEY_ID = environment.text("AWS_ACCESS_KEY_ID", "media:media")
AWS_SECRET_ACCESS_KEY = environment.secret("AWS_SECRET_ACCESS_KEY") if _WRITES else token_hex()
# An object's name is made of what is in it: it never changes.
AWS_S3_OBJECT_PARAMETERS = {"CacheControl": "public, max-age=31536000, immutable"}
AWS_S3_CUSTOM_DOMAIN = environment.domain("AWS_S3_CUSTOM_DOMAIN")
# Where browsers read: a CDN's domain, or the load balancer's path to the store.
MEDIA_URL = f"https://{AWS_S3_CUSTOM_DOMAIN}/" if AWS_S3_CUSTOM_DOMAIN else "/media/"
# Where they write by presigned URLs: the bucket's own URL; empty is the path /<bucket> of this
# site.
MEDIA_UPLOAD_URL = environment.address("MEDIA_UPLOAD_URL")

# ── web ───────────────────────────────────────────────────────────────────────────────────────────
STATIC_URL = f"{static_origin()}/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "scaleout.s3.storage.MediaStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# The load balancer overwrites X-Forwarded-Proto, and nothing else reaches the replicas.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
# `check --deploy` (scripts/check-deploy.sh) sees Django only.
SILENCED_SYSTEM_CHECKS = [
    "security.W003",  # CrossSiteMiddleware refuses what a page of another site would change
    "security.W004",  # the load balancer sends HSTS, where HTTPS_ONLY is set
    "security.W008",  # and redirects to HTTPS
]
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = environment.integer("MAX_BODY_BYTES", 1_048_576, least=1024, most=1_073_741_824)
# What this release renders differs from what another does: the cache keeps them apart.
CACHING["RELEASE"] = release(BASE_DIR, STATIC_ROOT / "staticfiles.json", STATIC_URL, MEDIA_URL)
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# ── observability ─────────────────────────────────────────────────────────────────────────────────
OBSERVABILITY: dict[str, Any] = {
    "EXPOSE_TOPOLOGY": EXPOSE_TOPOLOGY,
    "REPLICA_NAME": REPLICA_NAME,
    # Functions that set gauges when Prometheus scrapes a replica. The replica that has the database
    # measures the outbox, even while its worker is down.
    "MEASURES": [
        *(["scaleout.events.measuring.measure"] if "events" in DATABASE_APPS.get("default", ()) else []),
        "scaleout.sharding.measuring.measure",
    ],
    # Run every few seconds: only a failure is logged.
    "ROUTINE_TASKS": ["config.pulse", "events.relay"],
}
LOGGING = logs.configuration(environment.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]))
