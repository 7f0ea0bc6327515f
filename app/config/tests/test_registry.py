"""The registry of services is the truth: what cannot derive from it is compared with it here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from shop.services import APIS, CHOICES, ISSUERS, OWNERS, SERVICES, SHARDED, WORKERS, callers

from config.databases import CONTEXTS, databases

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
WORKER_NAMES = ["worker", *(SERVICES[name].worker for name in WORKERS)]


def secrets(container: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in container["secrets"]}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SERVICES)
def test_compose_starts_each_service_with_its_name_its_port_and_its_secrets(name: str) -> None:
    service, container = SERVICES[name], COMPOSE[name]
    assert container["environment"]["SERVICE"] == name
    assert f"http://127.0.0.1:{service.port}/health/" in container["healthcheck"]["test"]
    assert f"db_{service.database}_app" in secrets(container)
    assert (f"identity_{name}_key" in secrets(container)) == service.issues_tokens
    if service.api:
        assert {f"identity_{issuer}_public" for issuer in ISSUERS} <= secrets(container)


def test_compose_starts_no_other_service_and_a_worker_where_the_registry_has_one() -> None:
    of_the_application = {
        name: one["environment"]["SERVICE"]
        for name, one in COMPOSE.items()
        if isinstance(one.get("environment"), dict) and "SERVICE" in one["environment"]
    }
    assert {*SERVICES, *WORKER_NAMES, "beat", "migrate"} == set(of_the_application) - {"web-canary"}
    assert set(of_the_application.values()) < set(CHOICES)
    for name in WORKERS:
        assert f"db_{SERVICES[name].database}_app" in secrets(COMPOSE[SERVICES[name].worker])


def test_prometheus_scrapes_each_service_and_each_worker() -> None:
    jobs = {one["job_name"]: one for one in yaml.safe_load(text("prometheus/prometheus.yml"))["scrape_configs"]}
    for name, service in SERVICES.items():
        [found] = jobs[name]["dns_sd_configs"]
        assert (name in found["names"], found["port"]) == (True, service.port)
    [workers] = jobs["workers"]["dns_sd_configs"]
    assert sorted(workers["names"]) == sorted(WORKER_NAMES)


def test_the_development_stack_has_each_service_at_its_port_and_each_queue() -> None:
    found = text("compose.dev.yaml")
    ports = re.findall(r"config\.dev\.reload, web, \"(\d+)\"\]", found)
    assert sorted(map(int, ports)) == sorted(one.port for one in SERVICES.values())
    kinds = [f"{one}.answers,{one}.events,{one}.tasks,{one}.bulk" for one in OWNERS]
    assert sorted(re.findall(r'-Q, "([\w.,]+)"\]', found)) == sorted(kinds)


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("scripts/dev.sh", r"services=\(nginx (.*)\)"), ("scripts/manage.sh", r"^    (web \|.*)\) ;;$")],
)
def test_the_scripts_name_each_service(file: str, pattern: str) -> None:
    [found] = re.findall(pattern, text(file), re.MULTILINE)
    assert set(re.findall(r"[\w-]+", found)) - {"migrate"} == {*SERVICES, *WORKER_NAMES, "beat"}


@pytest.mark.parametrize("overlay", ["compose.redis-cluster.yaml", "compose.redis-sentinel.yaml"])
def test_the_overlays_for_redis_change_each_service(overlay: str) -> None:
    for name in (*SERVICES, *WORKER_NAMES, "beat"):
        assert re.search(rf"^  {name}:", text(overlay), re.MULTILINE), name


def test_the_sharded_services_have_a_context_of_databases_and_the_others_open_the_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("x")
    for one in SERVICES.values():
        monkeypatch.setenv(f"DB_{one.database.upper()}_PASSWORD_FILE", str(tmp_path / "secret"))
    assert set(CONTEXTS) == SHARDED == {one.database for one in SERVICES.values() if one.has_worker}
    for name, service in SERVICES.items():
        assert {one["NAME"] for alias, one in databases(name).settings.items() if alias == "default"} == {
            service.database
        }


def test_secrets_are_made_for_each_service() -> None:
    found = text("scripts/secrets.sh")
    for database in {one.database for one in SERVICES.values()}:
        assert {f"db_{database}_owner", f"db_{database}_app"} <= set(re.findall(r"\bdb_\w+", found))
    assert set(re.findall(r"\bidentity_(\w+)\b(?=[; ])", found)) >= set(ISSUERS)


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
