"""The registry of services is the truth: what cannot derive from it is compared with it here."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from shop.services import (
    APIS,
    CACHE_USERS,
    CHOICES,
    EVENT_SIGNERS,
    ISSUERS,
    PORTS,
    QUEUE_USERS,
    SERVICES,
    SHOP,
    WORKER_NAMES,
    WORKERS,
    callers,
)

from config.databases import CONTEXTS, databases
from config.dev.reload import command

ROOT = Path(__file__).resolve().parents[3]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
COMPOSE: dict[str, Any] = FILE["services"]
NODES = ("postgres-1", "postgres-2", "postgres-3", "postgres-4")


def sources(container: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in container["secrets"]}


def lacking(name: str, wanted: set[str]) -> list[str]:
    """Return what a container of compose.yaml has to be given besides, a line for each secret."""
    held = sources(COMPOSE[name])
    return [f"compose.yaml: {name} needs the secret {one}" for one in sorted(wanted - held)] + [
        f"compose.yaml: the section secrets needs {one}" for one in sorted(wanted - set(FILE["secrets"]))
    ]


def of_redis(name: str) -> set[str]:
    return {
        *([f"redis_cache_{name}"] if name in CACHE_USERS else []),
        *([f"redis_queue_{name}"] if name in QUEUE_USERS else []),
    }


@pytest.mark.parametrize("name", SERVICES)
def test_compose_starts_each_service_with_its_name_its_port_and_its_secrets(name: str) -> None:
    assert name in COMPOSE, f"compose.yaml: there is no service {name}"
    service, container = SERVICES[name], COMPOSE[name]
    assert container["environment"]["SERVICE"] == name
    probed = " ".join(container["healthcheck"]["test"])
    assert f"http://127.0.0.1:{service.port}/health/" in probed, f"compose.yaml: {name} listens on {service.port}"
    wanted = {f"db_{service.database}_app"} | of_redis(name)
    if service.api:
        wanted |= {f"identity_{issuer}_public" for issuer in ISSUERS}
    if service.issues_tokens:
        wanted.add(f"identity_{name}_key")
    if name in EVENT_SIGNERS:
        wanted.add(f"events_{service.database}_key")
    assert not lacking(name, wanted)


@pytest.mark.parametrize("name", WORKERS)
def test_compose_starts_a_worker_where_the_registry_has_one(name: str) -> None:
    worker = SERVICES[name].worker
    assert worker in COMPOSE, f"compose.yaml: there is no service {worker}"
    assert not lacking(worker, {f"db_{name}_app", f"events_{name}_key"} | of_redis(worker))


def test_compose_starts_no_other_service() -> None:
    of_the_application = {
        name: one["environment"]["SERVICE"]
        for name, one in COMPOSE.items()
        if isinstance(one.get("environment"), dict) and "SERVICE" in one["environment"]
    }
    assert {*SERVICES, *WORKER_NAMES, "beat", "migrate"} == set(of_the_application) - {"web-canary"}
    assert set(of_the_application.values()) < set(CHOICES)


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_database_of_its_own_is_made_and_its_owner_migrates_it(context: str) -> None:
    owner, app = f"db_{context}_owner", f"db_{context}_app"
    assert f"{context}:{context}" in FILE["x-main"]["DATABASES"].split(), f"compose.yaml: x-main: {context}:{context}"
    for node in NODES:
        assert not lacking(node, {owner, app})
    variable = f"DB_{context.upper()}_PASSWORD_FILE"
    given = COMPOSE["migrate"]["environment"].get(variable)
    assert given == f"/run/secrets/{owner}", f"compose.yaml: migrate needs {variable}: /run/secrets/{owner}"
    assert not lacking("migrate", {owner})


def test_prometheus_scrapes_each_service_and_each_worker() -> None:
    given = COMPOSE["prometheus"]["environment"]
    wanted = {f"{name}:{port}" for name, port in PORTS.items()}
    assert set(given["SERVICES"].split()) == wanted, "compose.yaml: prometheus: SERVICES"
    assert set(given["WORKERS"].split()) == set(WORKER_NAMES), "compose.yaml: prometheus: WORKERS"


@pytest.mark.parametrize("service", ["web", "products", "worker", "orders-worker", "beat"])
def test_in_development_each_is_what_the_registry_says(service: str) -> None:
    words = {
        "web": ["web", "8000"],
        "products": ["web", "8002"],
        "beat": ["celery", "beat"],
        "worker": ["celery", "worker", "-c", "1", "-Q", "shop.answers,shop.events,shop.tasks,shop.bulk"],
        "orders-worker": ["celery", "worker", "-c", "1", "-Q", "orders.answers,orders.events,orders.tasks,orders.bulk"],
    }
    assert command(service) == words[service]


@pytest.mark.parametrize("overlay", ["compose.redis-cluster.yaml", "compose.redis-sentinel.yaml"])
def test_the_overlays_for_redis_change_each_service(overlay: str) -> None:
    changed = set(yaml.safe_load((ROOT / overlay).read_text(encoding="utf-8"))["services"])
    missing = {*SERVICES, *WORKER_NAMES, "beat"} - changed
    assert not missing, f"{overlay}: add {', '.join(f'{name}: *app' for name in sorted(missing))}"


def test_a_service_opens_the_database_that_the_registry_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")
    for one in SERVICES.values():
        monkeypatch.setenv(f"DB_{one.database.upper()}_PASSWORD_FILE", str(tmp_path / "secret"))
    assert set(CONTEXTS) == {one.database for one in SERVICES.values()} - {SHOP}
    for name, service in SERVICES.items():
        found = databases(name)
        assert found.settings["default"]["NAME"] == service.database
        assert bool(found.shards) == service.sharded


def called(package: Path) -> set[str]:
    """Return the services whose URLs the code of a package gives to `calls.session()`."""
    return {
        str(urlsplit(node.args[0].value).hostname)
        for file in package.rglob("*.py")
        if "tests" not in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith("calls.session().")
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


@pytest.mark.parametrize("name", APIS)
def test_a_service_calls_those_that_the_registry_says_and_signs_for_it(name: str) -> None:
    service = SERVICES[name]
    assert called(ROOT / "app" / "shop" / name) == service.calls
    assert service.calls <= set(APIS)
    assert not service.calls or service.issues_tokens


def test_callers_are_those_who_may_call() -> None:
    assert callers("orders") == {"users"}
    assert callers("products") == {"orders"}
    assert callers("users") == set()
