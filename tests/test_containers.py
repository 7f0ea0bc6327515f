"""The containers have minimal rights, limited memory, and health checks."""

from __future__ import annotations

from datetime import datetime

import pytest
from support.settings import LOAD_BALANCERS
from support.stack import Container, Stack
from support.wait import eventually

SERVICES = [
    "web", "users", "products", "orders", "worker", "users-worker", "orders-worker", "beat", "postgres-1",
    "postgres-2", "postgres-3", "shard-1", "shard-2", "etcd", "redis-cache", "redis-queue", "swift", "prometheus",
    "redis-exporter",
]  # fmt: skip


@pytest.fixture
def containers(stack: Stack) -> list[Container]:
    """Every container of the stack, the finished one-shots too."""
    return stack.containers(stopped=True)


def test_every_service_runs(stack: Stack) -> None:
    running = {one.service for one in stack.containers() if one.running}
    assert running >= {*SERVICES, stack.load_balancer}


def test_no_container_runs_as_root(containers: list[Container]) -> None:
    roots = [one.name for one in containers if one.details["Config"]["User"].split(":")[0] in ("", "0", "root")]
    assert not roots


def test_no_process_in_any_container_is_root(stack: Stack) -> None:
    for one in stack.containers():
        users = stack.run_in(one, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null | grep ^Uid")
        assert not [line for line in users.splitlines() if "0" in line.split()[1:]], f"{one.name}: {users}"


def test_every_root_filesystem_is_read_only(containers: list[Container]) -> None:
    assert not [one.name for one in containers if not one.details["HostConfig"]["ReadonlyRootfs"]]


def test_every_container_has_dropped_all_capabilities(containers: list[Container]) -> None:
    for one in containers:
        config = one.details["HostConfig"]
        assert config["CapDrop"] == ["ALL"], one.name
        assert not config["CapAdd"], one.name
        assert not config["Privileged"], one.name


def test_no_process_can_gain_rights(containers: list[Container]) -> None:
    for one in containers:
        assert any(o.startswith("no-new-privileges") for o in one.details["HostConfig"]["SecurityOpt"]), one.name


def test_memory_and_processes_are_limited(containers: list[Container]) -> None:
    for one in containers:
        config = one.details["HostConfig"]
        assert config["Memory"] > 0, one.name
        assert (config["PidsLimit"] or 0) > 0, one.name


def test_every_long_running_service_has_a_health_check_and_starts_again(stack: Stack) -> None:
    for one in stack.containers():
        assert one.health == "healthy", one.describe()
        assert one.details["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped", one.name


def waited(container: Container) -> float:
    """Return the seconds of the last check; for a healthy container most of them are its wait."""
    last = container.details["State"]["Health"]["Log"][-1]
    begun, ended = (datetime.fromisoformat(last[name]) for name in ("Start", "End"))
    return (ended - begun).total_seconds()


def test_a_healthy_container_is_checked_once_a_minute(stack: Stack) -> None:
    def hurried() -> list[str]:
        return [one.name for one in stack.containers() if waited(one) < 50]

    eventually("no container with a check that began at once", hurried, lambda seen: not seen, within=130)


@pytest.mark.failure
def test_a_container_that_hangs_is_reported_within_two_minutes_and_its_recovery_too(broken: Stack) -> None:
    victim = broken.container("redis-exporter")
    broken.freeze(victim)
    try:
        eventually(
            "the report", lambda: broken.container(victim.service).health, lambda h: h == "unhealthy", within=120
        )
    finally:
        broken.thaw(victim)
    eventually("health", lambda: broken.container(victim.service).health, lambda h: h == "healthy", within=20)


def test_no_container_can_reach_the_engine(containers: list[Container]) -> None:
    for one in containers:
        assert not [mount for mount in one.details["Mounts"] if "docker.sock" in mount["Source"]], one.name


def test_no_password_is_in_an_environment_or_a_command_line(containers: list[Container]) -> None:
    for one in containers:
        for word in one.details["Config"]["Env"]:
            name, _, value = word.partition("=")
            secret = any(part in name for part in ("PASSWORD", "SECRET", "TOKEN")) and not name.endswith("_FILE")
            assert not (secret and value), f"{one.name}: {name}"


def test_a_service_has_the_secrets_of_its_own_context_and_no_other(stack: Stack) -> None:
    redis, public = {"redis_cache", "redis_queue"}, {"identity_users_public", "identity_orders_public"}
    publishers = {"events_users_public", "events_shop_public"}  # the other two, whose events orders receives
    wanted = {
        "web": redis | {"django_secret_key", "cache_key", "db_shop_app", "cdn_purge"},
        "worker": redis
        | {"django_secret_key", "cache_key", "db_shop_app", "cdn_purge", "media_store"}
        | {"events_shop_key", "events_orders_public"},
        "beat": {"redis_queue", "django_secret_key", "db_shop_app", "cdn_purge"},
        "users": redis | public | {"db_users_app", "identity_users_key", "events_users_key"},
        "users-worker": redis | {"db_users_app", "events_users_key"},
        "orders-worker": {"redis_queue", "db_orders_app", "events_orders_key"} | publishers,
        "products": redis | public | {"cache_key", "db_shop_app", "cdn_purge", "media_store", "events_shop_key"},
        "orders": redis | public | {"db_orders_app", "identity_orders_key", "events_orders_key"},
        "redis-cache": {"redis_cache_acl"},
        "redis-queue": {"redis_queue_acl"},
        "redis-exporter": {"redis_cache_exporter", "redis_queue_exporter", "exporter"},
    }
    for service, names in wanted.items():
        assert set(stack.run_in(service, "ls", "/run/secrets").split()) == names, service


def test_only_the_load_balancer_is_published_and_prometheus_on_this_machine_only(stack: Stack) -> None:
    for one in stack.containers():
        ports = one.details["HostConfig"]["PortBindings"] or {}
        if one.service in LOAD_BALANCERS:
            assert set(ports) == {"8080/tcp", "8443/tcp"}
        elif one.service == "cdn":  # only while it was asked for
            assert set(ports) == {"8080/tcp"}
        elif one.service == "prometheus":
            assert [binding["HostIp"] for binding in ports["9090/tcp"]] == ["127.0.0.1"]
        else:
            assert not ports, f"{one.name}: {ports}"


def test_only_networks_that_must_publish_a_port_lead_outside(stack: Stack) -> None:
    networks = stack.config["networks"]
    assert [name for name in networks if not networks[name].get("internal")] == ["edge", "monitoring"]


def test_logs_cannot_fill_the_disk(containers: list[Container]) -> None:
    for one in containers:
        assert one.details["HostConfig"]["LogConfig"]["Config"].get("max-size"), one.name
