"""What a change of each setting does to a running stack; tests/test_up.py walks through them."""

from __future__ import annotations

APP = ("web", "users", "products", "orders", "worker", "users-worker", "orders-worker", "beat")
PAGES = ("web", "users", "products", "orders")
SERVICES = ("users", "products", "orders")
STORE = ("products", "worker")
SHARDED = ("users", "orders", "users-worker", "orders-worker")

# Settings that containers get as an environment variable: the new value, and the services that must
# have it afterwards. They are changed in two groups, because some exclude each other.
ROLLED: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "ALLOWED_HOSTS": (1, "127.0.0.1,localhost,shop.example", APP),
    "MAX_BODY_BYTES": (1, "524288", APP),
    "CDN_URL": (1, "https://cdn.example.com", APP),
    "AWS_CLOUDFRONT_DOMAIN": (2, "d111111abcdef8.cloudfront.net", APP),
    "CDN_TAG_HEADER": (1, "Cache-Tag", APP),
    "CDN_PURGE_URL": (1, "", ("web", "products", "worker")),
    "WEB_WORKERS": (1, "1", ("web",)),
    "WEB_THREADS": (1, "6", ("web",)),
    "POOL_SIZE": (1, "5", ("web", "users", "products", "orders", "worker")),
    "REPLICATION_GUARD": (2, "1", ("web", "products")),
    "RATE_LIMIT": (1, "60000", ("web",)),
    "DRAIN_SECONDS": (2, "4", PAGES),
    "EXPOSE_TOPOLOGY": (1, "0", APP),
    "REQUIRE_IF_MATCH": (2, "1", APP),
    "REGISTRATION_LIMIT": (1, "5000", ("users",)),
    "REGISTRATION_TELLS": (2, "0", ("users",)),
    "SECURE_COOKIES": (1, "1", APP),
    "OLD_SESSIONS": (2, "1", ("web",)),
    "DEBUG": (2, "1", APP),
    "LOG_LEVEL": (1, "WARNING", APP),
    "AWS_S3_ENDPOINT_URL": (1, "http://swift:8080/", STORE),
    "AWS_S3_REGION_NAME": (1, "eu-west-1", STORE),
    "AWS_S3_ADDRESSING_STYLE": (2, "auto", STORE),
    "AWS_STORAGE_BUCKET_NAME": (2, "media2", STORE),
    "AWS_ACCESS_KEY_ID": (2, "media:other", STORE),
    "AWS_S3_CUSTOM_DOMAIN": (1, "media.example.com", APP),
    "MEDIA_UPLOAD_URL": (1, "https://upload.example.com/media", ("products",)),
    "WORKER_PROCESSES": (1, "1", ("worker",)),
    "ETCD_UNSAFE_NO_FSYNC": (1, "false", ("etcd",)),
}
# The same, by another name in the container.
RENAMED: dict[str, tuple[int, str, tuple[str, ...], str]] = {
    "SERVICE_WORKERS": (2, "2", SERVICES, "WEB_WORKERS"),
    "SERVICE_THREADS": (1, "3", SERVICES, "WEB_THREADS"),
}
# Settings that the load balancer takes by reload.
RELOADED: dict[str, tuple[int, str]] = {
    "LB_METHOD": (1, "round_robin"),
    "LB_UPSTREAMS": (2, "web=2"),
    "ALLOWED_HOSTS": (1, "127.0.0.1,localhost,shop.example"),
    "MAX_BODY_BYTES": (1, "524288"),
    "TRUSTED_PROXIES": (1, "192.0.2.0/24"),
    "CLIENT_ADDRESS": (2, "cf-connecting-ip"),
}
# Settings with a check of their own in the walk or in another test of this file.
OTHERWISE = {
    "WEB_REPLICAS": "the walk: two instead of three, and back",
    "PROMETHEUS_PORT": "the walk: Prometheus answers there",
    "TLS_CERTIFICATE": "test_a_certificate_is_served_by_a_reload",
    "TLS_KEY": "test_a_certificate_is_served_by_a_reload",
    "EXTRA_REPLICAS": "docs/replication.md, which test_readme.py follows under load",
    "EXTRA_SHARDS": "docs/resharding.md, which test_readme.py follows under load",
    "CANARY_IMAGE": "of no container here; test_canary.py",
    "HTTPS_ONLY": "tests/test_edge_policy.py: the walk's callers use http",
    "COMPOSE_PROJECT_NAME": "another name is another stack",
}
# Settings whose change interrupts: a new value, and what `make up` says about it.
INTERRUPTING: dict[str, tuple[str, str]] = {
    "COMPOSE_PROFILES": ("", "stops before"),  # the other load balancer
    "HTTP_PORT": ("19080", "connections are cut"),
    "HTTPS_PORT": ("19443", "connections are cut"),
    "COMPOSE_FILE": ("compose.yaml:compose.redis-cluster.yaml", "made again at once"),
    "SWIFT_REPLICAS": ("0", "image store stops"),
    "MEDIA_STORE_SECRET": ("secrets/other_store", "images cannot be read"),
}
EDGE = {"CDN_PORT": "19088", "CDN_MEMORY_MB": "32"}  # interrupt the demo's edge where that runs
