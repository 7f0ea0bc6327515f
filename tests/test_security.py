"""SECURITY.md agrees with compose.yaml: the networks, and each service's secrets."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
from support.security import names, table
from support.settings import ROOT
from test_networks import NETWORKS

OVERLAYS = ("compose.redis-cluster.yaml", "compose.redis-sentinel.yaml")


def config(*files: str) -> dict[str, Any]:
    """Return what Compose makes of `files`, with all profiles."""
    options = [word for file in ("compose.yaml", *files) for word in ("--file", file)]
    result = subprocess.run(
        ("docker", "compose", *options, "--profile", "*", "config", "--format", "json"),
        cwd=ROOT, env=os.environ | {"COMPOSE_PROJECT_NAME": "security"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    """compose.yaml."""
    return config()


def test_the_networks_are_those_of_the_table(stack: dict[str, Any]) -> None:
    members: dict[str, set[str]] = {}
    for service, what in stack["services"].items():
        for network in what["networks"]:
            members.setdefault(network, set()).add(service)
    assert members == NETWORKS


@pytest.mark.parametrize("files", [(), *((one,) for one in OVERLAYS), OVERLAYS], ids=str)
def test_only_networks_that_publish_a_port_are_not_internal(files: tuple[str, ...]) -> None:
    found = config(*files)
    published = {one for what in found["services"].values() if what.get("ports") for one in what["networks"]}
    open_ones = {name for name, what in found["networks"].items() if not what.get("internal")}
    assert open_ones == {"edge", "monitoring"} <= published
    for name in open_ones:
        assert found["networks"][name]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def test_each_secret_is_held_by_the_services_of_the_table(stack: dict[str, Any]) -> None:
    held: dict[str, set[str]] = {}
    for service, what in stack["services"].items():
        for secret in what.get("secrets", []):
            held.setdefault(secret["source"], set()).add(service)
        for volume in what.get("volumes", []):
            if volume["type"] == "bind":
                path = os.path.relpath(volume["source"], ROOT / "secrets")
                assert not path.startswith(".."), f"{service}: {volume['source']}"
                name = "nodes/<name>" if path == f"nodes/{service}" else path.replace("lb-security", "lb-<project>")
                held.setdefault(name, set()).add(service)
    rows = table("Who holds which secret")
    documented = {name: names(row[2]) for row in rows for name in re.findall(r"`([^`]+)`", row[0]) if names(row[2])}
    assert documented == held
    assert set(stack["secrets"]) - set(held) == {"build_ca"}, "a secret that no service mounts"
