"""Each service as its container runs it: with its own settings, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from waiting import TIME_FACTOR

from config.celery import app as celery

APP = Path(__file__).resolve().parents[2]
SECRETS = {
    "users": ["REDIS_CACHE_PASSWORD", "REDIS_QUEUE_PASSWORD", "DB_USERS_PASSWORD", "IDENTITY_KEY", "EVENTS_KEY"],
    "products": [
        "REDIS_CACHE_PASSWORD",
        "REDIS_QUEUE_PASSWORD",
        "CACHE_KEY",
        "DB_SHOP_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "EVENTS_KEY",
    ],
    "orders": ["REDIS_CACHE_PASSWORD", "REDIS_QUEUE_PASSWORD", "DB_ORDERS_PASSWORD", "IDENTITY_KEY", "EVENTS_KEY"],
    "users-worker": ["REDIS_CACHE_PASSWORD", "REDIS_QUEUE_PASSWORD", "DB_USERS_PASSWORD", "EVENTS_KEY"],
}
LOOK = """
import json
from io import StringIO
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.test import Client
call_command("check", stdout=StringIO())
client = Client()
status = {path: client.get(path, headers={"accept": "text/html"}).status_code for path in %r}
ring = settings.IDENTITY["KEYRING"]
print(json.dumps({
    "status": status,
    "databases": sorted(settings.DATABASES),
    "users": sorted({one["USER"] for one in settings.DATABASES.values()}),
    "warms": settings.CACHING["WARMERS"],
    "signs": ring.signer is not None,
    "believes": sorted(issuer for issuer, _ in ring.trusted.values()),
}))
"""


def _another() -> bytes:
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def environment(service: str, folder: Path) -> dict[str, str]:
    """Return an environment in which `service` has the secrets that compose.yaml gives it, and no
    other.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {name: pem if name in ("IDENTITY_KEY", "EVENTS_KEY") else b"secret" for name in SECRETS[service]}
    if service != "users-worker":
        files |= {"IDENTITY_USERS_KEYS": public, "IDENTITY_ORDERS_KEYS": _another()}
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    made = kept | {"SERVICE": service, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "CRITICAL"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        made[f"{name}_FILE"] = str(folder / name)
    return made


def look(service: str, folder: Path, paths: list[str], **changed: str) -> subprocess.CompletedProcess[str]:
    """Run LOOK as `service`."""
    return subprocess.run(
        [sys.executable, "-c", LOOK % (paths,)],
        cwd=APP,
        env=environment(service, folder) | changed,
        text=True,
        capture_output=True,
        timeout=60 * TIME_FACTOR,
        check=False,
    )


@pytest.mark.parametrize("service", ["users", "products", "orders"])
def test_a_service_starts_with_its_own_secrets_and_serves_its_own_paths_only(service: str, tmp_path: Path) -> None:
    others = {"users", "products", "orders"} - {service}
    nowhere = ["/", "/counter/", "/session/", "/api/", f"/api/{service}", *(f"/api/{other}/" for other in others)]
    seen = look(service, tmp_path, [f"/api/{service}/openapi.json", "/health/live", *nowhere])
    assert seen.returncode == 0, seen.stderr
    seen_by = json.loads(seen.stdout)
    assert seen_by["status"] == {
        f"/api/{service}/openapi.json": 200,
        "/health/live": 200,
        **dict.fromkeys(nowhere, 404),
    }
    assert seen_by["users"] == [{"products": "shop"}.get(service, service) + "_app"]
    shards = [] if service == "products" else ["shard0", "shard1", "shard2"]
    assert seen_by["databases"] == ["default", "replica1", "replica2", *shards]
    assert seen_by["signs"] == (service != "products")
    # It can render no page of the shop.
    assert seen_by["warms"] == (["products-api"] if service == "products" else None)
    assert seen_by["believes"] == ["orders", "users"]


def test_the_worker_of_users_has_the_databases_of_users_and_no_key(tmp_path: Path) -> None:
    seen = look("users-worker", tmp_path, [])
    assert seen.returncode == 0, seen.stderr
    seen_by = json.loads(seen.stdout)
    assert seen_by["databases"] == ["default", "replica1", "replica2", "shard0", "shard1", "shard2"]
    assert (seen_by["users"], seen_by["signs"], seen_by["believes"]) == (["users_app"], False, [])


@pytest.mark.parametrize(
    ("service", "variable", "value"),
    [
        ("users", "IDENTITY_KEY_FILE", ""),
        ("products", "IDENTITY_ORDERS_KEYS_FILE", "/nothing/here"),
        ("orders", "DB_ORDERS_PASSWORD_FILE", ""),
        pytest.param("users", "IDENTITY_KEY_FILE", "/nothing/here", marks=pytest.mark.long),
        pytest.param("users", "IDENTITY_USERS_KEYS_FILE", "", marks=pytest.mark.long),
        pytest.param("users", "IDENTITY_USERS_KEYS_FILE", "/nothing/here", marks=pytest.mark.long),
        pytest.param("products", "IDENTITY_ORDERS_KEYS_FILE", "", marks=pytest.mark.long),
        pytest.param("orders", "DB_ORDERS_PASSWORD_FILE", "/nothing/here", marks=pytest.mark.long),
    ],
)
def test_a_service_without_a_secret_says_which_in_one_line(
    service: str, variable: str, value: str, tmp_path: Path
) -> None:
    seen = look(service, tmp_path, [], **{variable: value})
    assert seen.returncode == os.EX_USAGE
    assert len(seen.stderr.splitlines()) == 1, seen.stderr
    assert seen.stderr.startswith(f'{service}: {variable}="{value}": ')


def test_a_file_that_holds_no_key_is_said_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("secret")
    for variable in ("IDENTITY_KEY_FILE", "IDENTITY_USERS_KEYS_FILE"):
        seen = look("users", tmp_path, [], **{variable: str(other)})
        assert seen.returncode == os.EX_USAGE
        assert seen.stderr.strip().splitlines()[0].startswith(f'users: {variable}="{other}": holds no ')


def test_an_event_goes_to_the_queue_of_events_of_its_owner_and_any_task_to_that_of_its_tasks() -> None:
    def queue(task: str) -> str:
        return str(celery.amqp.router.route({}, task)["queue"].name)

    assert queue("users.tasks.repair_directory") == "users.tasks"
    assert queue("stateless.tasks.clear_expired_sessions") == "shop.tasks"
    assert queue("products.tasks.make_variants") == "shop.tasks"
    assert queue("products.tasks.handle_order_event") == "shop.events"
    assert queue("orders.tasks.handle_product_event") == "orders.events"
