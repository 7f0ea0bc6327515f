"""The stack at rest: its definition, and the way back to it after a failure."""

from __future__ import annotations

import json
from typing import Any

from support.client import Site
from support.settings import MAIN_NODES, REPLICAS
from support.stack import Container, Stack
from support.wait import eventually

# Services whose processes a test may have stopped one by one.
FROZEN = ("web", "users", "products", "orders", "worker", "users-worker", "orders-worker")


def patroni(stack: Stack, node: str | Container, path: str) -> str:
    """Return the answer of the node's Patroni at `path`, or the error."""
    ask = ("curl", "-sS", "--max-time", "2", "--cacert", "/run/node/ca.pem", f"https://127.0.0.1:8008/{path}")
    return stack.run_in(node, *ask, check=False)


def cluster(stack: Stack) -> list[dict[str, Any]]:
    """Return the members of the main PostgreSQL cluster, from the first node that answers."""
    for node in stack.containers(*MAIN_NODES):
        if node.running:
            answer = patroni(stack, node, "cluster")
            if answer.startswith("{"):
                return list(json.loads(answer)["members"])
    return []


def roles(stack: Stack) -> list[str]:
    """Return `role state` of each member of the cluster that is up, sorted."""
    return sorted(f"{one['role']} {one['state']}" for one in cluster(stack))


def is_whole(seen: list[str]) -> bool:
    """Return whether `roles` shows one primary and two streaming replicas."""
    leaders = [one for one in seen if one == "leader running"]
    streaming = [one for one in seen if one.endswith(" streaming") and not one.startswith("leader")]
    return len(leaders) == 1 and len(streaming) == 2


def primary(stack: Stack) -> str:
    """Return the name of the node that is the primary, once there is one."""

    def leaders() -> list[str]:
        return [str(one["name"]) for one in cluster(stack) if one["role"] == "leader"]

    return eventually("a primary", leaders, within=5)[0]


def health(site: Site) -> dict[str, str]:
    """Return the answer of `/health/`."""
    answer: dict[str, str] = site.get("/health/").json()
    return answer


def everywhere_healthy(stack: Stack) -> list[str]:
    """Return the health of each web replica, requested inside its container."""
    command = ("curl", "-sS", "--max-time", "2", "http://127.0.0.1:8000/health/")
    return [json.loads(stack.run_in(one, *command))["status"] for one in stack.containers("web")]


def assert_at_rest(stack: Stack) -> None:
    """Wait until all containers are healthy, the cluster is complete, and all replicas serve."""
    eventually("every container to be healthy", stack.unhealthy, lambda seen: not seen, within=60)
    eventually("one primary and two streaming replicas", lambda: roles(stack), is_whole, within=60)
    eventually(
        f"{REPLICAS} web replicas that say healthy",
        lambda: everywhere_healthy(stack),
        lambda seen: seen == ["healthy"] * REPLICAS,
        within=30,
    )
    site = Site(stack.published(stack.load_balancer, 8080))
    wanted = stack.replica_names()
    eventually(
        f"requests to be answered by {sorted(wanted)}",
        lambda: {site.get("/counter/").headers.get("X-Served-By") for _ in range(4 * REPLICAS)},
        lambda seen: seen == wanted,
        within=15,
    )


def restore(stack: Stack) -> None:
    """Start stopped containers, thaw frozen ones, scale back, and wait for the stack at rest."""
    services = {one.service for one in stack.containers(stopped=True)} - {"migrate"}
    stack.start(*services)
    for container in stack.containers(*FROZEN):
        stack.thaw(container)
    if len(stack.containers("web")) != REPLICAS:
        stack.scale(REPLICAS)
    if len(stack.containers("orders")) != 1:
        stack.scale(1, "orders")
    assert_at_rest(stack)
