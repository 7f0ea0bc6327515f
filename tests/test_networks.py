"""Connections between containers: from each to every port of every other one, and to outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.security import names, table
from support.settings import TIME_FACTOR
from support.stack import Container, Stack, run

DATABASES = {"postgres-1", "postgres-2", "postgres-3", "postgres-4", "shard-1", "shard-2", "shard-3"}
# Those that share a network may connect to each other, and no others.
NETWORKS = {names(row[0]).pop(): names(row[1]) for row in table("Who may speak to whom")}
PUBLISHING = {"edge", "monitoring"}
LISTENS_ON_MONITORING_ONLY = {"prometheus", "redis-exporter", "nginx-exporter"}
PORTS = {
    "web": (8000,), "web-canary": (8000,), "users": (8001,), "products": (8002,), "orders": (8003,), "worker": (8010,),
    "users-worker": (8010,), "orders-worker": (8010,), "beat": (), "etcd": (2379, 2381), "redis-cache": (6379,),
    "redis-queue": (6379,), "swift": (8080,), "nginx": (8080, 8443, 8081), "haproxy": (8080, 8443, 8081, 8405),
    "prometheus": (9090,), "redis-exporter": (9121,), "nginx-exporter": (9113,), "cdn": (8080, 8081),
} | dict.fromkeys(DATABASES, (5432, 8008))  # fmt: skip
# Lines of `address port open|closed` become the `address port` that a connection was made to. What
# is dropped on its way gets no answer: so the closed ones come first, and have failed when all the
# open ones, tried after them, are connected and a second has passed. All at once, in one process
# each.
CONNECT = """
open=()
while read -r address port state; do
  { exec 3<>"/dev/tcp/$address/$port" && echo "$address $port"; } 2>/dev/null &
  [[ $state == closed ]] || open+=($!)
done
for pid in "${open[@]}"; do
  while kill -0 "$pid" 2>/dev/null && ((SECONDS < $1)); do sleep 0.1; done
done
sleep 1
kill $(jobs -p) 2>/dev/null || :
"""
PATIENCE = 20.0  # seconds until a container is connected to all others that it may connect to


@pytest.fixture
def everything(stack: Stack) -> list[Container]:
    """The containers that run, of the services that this file knows: overlays bring more."""
    found = [one for one in stack.containers() if one.service in PORTS]
    assert {one.service for one in found} >= {"web", "users", "etcd", "swift", stack.load_balancer}
    return found


def short(network: str, stack: Stack) -> str:
    """Return a network's name in compose.yaml."""
    return network.removeprefix(f"{stack.project}_").removeprefix("closed_")


def addresses(one: Container, stack: Stack) -> dict[str, str]:
    """Return its address in each of its networks."""
    attached = one.details["NetworkSettings"]["Networks"]
    return {short(name, stack): entry["IPAddress"] for name, entry in attached.items()}


def test_each_container_is_attached_to_the_networks_of_the_table(everything: list[Container], stack: Stack) -> None:
    for one in everything:
        wanted = {network for network, members in NETWORKS.items() if one.service in members}
        assert set(addresses(one, stack)) == wanted, one.name


def test_each_container_connects_only_to_containers_of_its_networks(everything: list[Container], stack: Stack) -> None:
    where = [
        (target.name, network, address, str(port))
        for target in everything
        for network, address in addresses(target, stack).items()
        for port in PORTS[target.service]
    ]
    deaf = {one.name for one in everything if one.service in LISTENS_ON_MONITORING_ONLY}

    def wrong(source: Container) -> list[str]:
        mine = set(addresses(source, stack))
        others = [place for place in where if place[0] != source.name]
        allowed = {
            f"{address} {port}"
            for name, network, address, port in others
            if network in mine and (name not in deaf or network == "monitoring")
        }
        asked = sorted({f"{address} {port}" for _, _, address, port in others}, key=lambda one: one in allowed)
        text = "".join(f"{one} {'open' if one in allowed else 'closed'}\n" for one in asked)
        limit = str(round(PATIENCE * TIME_FACTOR))
        answer = stack.run_in(source, "bash", "-c", CONNECT, "-", limit, text=text, timeout=PATIENCE + 30)
        made = set(answer.splitlines())
        return [
            f"{source.name} -> {name}:{port} on {network}: "
            + ("connects" if f"{address} {port}" in made else "does not connect")
            for name, network, address, port in others
            if (f"{address} {port}" in made) != (f"{address} {port}" in allowed)
        ]

    with ThreadPoolExecutor(12) as pool:
        found = [line for lines in pool.map(wrong, everything) for line in lines]
    assert not found


def test_no_network_leads_out_of_the_machine(stack: Stack) -> None:
    option = '{{.Internal}} {{index .Options "com.docker.network.bridge.enable_ip_masquerade"}}'
    used = {name for one in stack.containers() for name in one.details["NetworkSettings"]["Networks"]}
    for name in used:
        internal, masquerade = run("docker", "network", "inspect", "--format", option, name).rstrip("\n").split(" ")
        if short(name, stack) in PUBLISHING:
            assert (internal, masquerade) == ("false", "false"), name
        else:
            assert internal == "true", name
