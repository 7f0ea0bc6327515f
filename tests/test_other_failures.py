"""A restart of the load balancer, a hung worker, and `make up` on a running stack."""

from __future__ import annotations

import pytest
from support.client import Site
from support.stack import CommandError, Stack, run
from support.wait import eventually

pytestmark = pytest.mark.failure


def test_a_restarted_load_balancer_finds_every_replica_again(broken: Stack, site: Site) -> None:
    run("docker", "restart", broken.container(broken.load_balancer).id, timeout=60)
    wanted = broken.replica_names()
    eventually("the site to answer", lambda: site.get("/health/").status_code == 200, within=15)
    eventually(
        f"answers of {sorted(wanted)}",
        lambda: {site.get("/counter/").headers["X-Served-By"] for _ in range(12)},
        lambda seen: seen == wanted,
        within=10,
    )


def test_a_worker_that_hangs_fails_its_health_check(broken: Stack) -> None:
    worker = broken.containers("worker")[0]
    broken.freeze(worker)

    def refused() -> bool:
        try:
            broken.run_in(worker, "healthcheck", "worker")
        except CommandError:
            return True
        return False

    eventually("the health check of the worker to fail", refused, within=50, interval=1)
    broken.thaw(worker)
    eventually("the health check of the worker to pass", lambda: not refused(), within=30)


def test_make_up_on_a_running_stack_changes_nothing(broken: Stack) -> None:
    def state() -> dict[str, tuple[str, str]]:
        containers = broken.containers(stopped=True)
        # The one-shot `migrate` runs again, in the same container.
        return {
            one.name: (one.id, "" if one.service == "migrate" else one.details["State"]["StartedAt"])
            for one in containers
        }

    before = state()
    printed = run("make", "up", timeout=180)
    assert state() == before
    assert "Building the images" not in printed  # also not from the build cache, which may have dropped them
