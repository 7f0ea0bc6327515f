"""Two Redis servers, an evicting cache and a durable queue, with minimal rights per service."""

from __future__ import annotations

import pytest
from support.probe import Probe
from support.settings import secret
from support.stack import Stack
from support.wait import eventually

HOSTS = ["redis-cache", "redis-queue"]
USERS = {
    "redis-cache": ["web", "products", "worker", "migrate", "users", "users-worker", "orders", "exporter"],
    "redis-queue": [
        "web", "users", "products", "orders", "worker", "users-worker", "orders-worker", "beat", "migrate", "exporter",
    ],
}  # fmt: skip
EACH = [(host, user) for host, users in USERS.items() for user in users]
DANGEROUS = [
    "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "CONFIG GET *", "CONFIG SET maxmemory 0",
    "DEBUG JMAP", "SHUTDOWN ABORT", "REPLICAOF NO ONE", "MODULE LIST", "ACL LIST", "ACL SETUSER x", "ACL LOG", "SAVE",
    "BGSAVE", "BGREWRITEAOF", "MONITOR", "CLIENT KILL ID 0", "CLIENT LIST", "CLIENT PAUSE 1", "SWAPDB 0 1", "SORT x",
    "SLOWLOG GET 1", "EVAL return(1) 0", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH", "FUNCTION LIST",
    "FCALL x 0", "PSUBSCRIBE *", "PUBSUB CHANNELS", "DUMP x", "RESTORE x 0 y", "MIGRATE x 1 y 0 1", "OBJECT HELP",
    "MEMORY USAGE x", "COPY x y", "RENAME x y",
]  # fmt: skip

# Of each user: what works, and what is refused. A key of another service, a queue of another
# worker, and so on.
SESSION, OLD_SESSION = ":1:sessions:x", ":1:django.contrib.sessions.cached_dbx"
PAGE, ANSWER = ":1:sealed:r{storefront.pages.front}", ":1:sealed:r{products.answers.categories}"
CLOCK, THROTTLE, RATE = ":1:{caching}:tests", "throttle:tests:x", "gateway:rate:tests"
REVOKED = "identity:revoked"  # which products and orders read
OWN = {
    "web": [SESSION, OLD_SESSION, PAGE, CLOCK, RATE],
    "products": [ANSWER, CLOCK],
    "worker": [PAGE, ANSWER, CLOCK],
    "migrate": [CLOCK],
    "users": [THROTTLE, REVOKED],
    "users-worker": [REVOKED],
    "orders": [":1:orders:x"],
    "exporter": [],
}
ALL_KEYS = sorted({key for keys in OWN.values() for key in keys} | {"x", ":1:x"})
KINDS = ("answers", "events", "tasks", "bulk")


def all_of(*owners: str) -> list[str]:
    return [f"{owner}.{kind}" for owner in owners for kind in KINDS]


TO_ORDERS = ["orders.events", "orders.bulk"]
PUTS = {
    "web": all_of("shop"),
    "users": [*all_of("users"), *TO_ORDERS],
    "products": [*all_of("shop"), *TO_ORDERS],
    "orders": [*all_of("orders"), "shop.events", "shop.bulk"],
    "worker": [*all_of("shop"), "celery", "orders.answers", *TO_ORDERS],
    "users-worker": [*all_of("users"), "users", *TO_ORDERS],
    "orders-worker": [
        *all_of("orders"), "orders", "shop.answers", "shop.events", "shop.bulk", "users.answers", "users.bulk",
    ],
    "beat": ["shop.tasks", "users.tasks", "orders.tasks"],
    "migrate": [*all_of("shop"), *TO_ORDERS],
    "exporter": [],
}  # fmt: skip
# What each worker takes; the last one is the queue of the release before.
TAKES = {
    "worker": [*all_of("shop"), "celery"],
    "users-worker": [*all_of("users"), "users"],
    "orders-worker": [*all_of("orders"), "orders"],
}
QUEUES = sorted({one for some in TAKES.values() for one in some})


def refused(reply: str) -> bool:
    """Return whether Redis rejected the command for lack of rights."""
    # DEBUG has a lock of its own, before the user's rights are looked at.
    return reply.startswith(("NoPermissionError", "ResponseError: DEBUG command not allowed"))


def info(probe: Probe, host: str, section: str) -> dict[str, str]:
    """Return a section of INFO."""
    lines = probe.redis(host, "INFO", section).splitlines()
    return dict(line.strip().split(":", 1) for line in lines if ":" in line)


def test_no_command_of_a_service_was_rejected(probe: Probe) -> None:
    """Runs first, since the rejected commands of the tests below fill the log."""
    for host in HOSTS:
        log = probe.redis(host, "ACL", "LOG", "1024")
        app = [line for line in log.splitlines() if "lib-name=redis-py" in line]
        assert not app, log


def test_the_cache_evicts_the_least_used_keys_and_persists_nothing(probe: Probe) -> None:
    assert info(probe, "redis-cache", "memory")["maxmemory_policy"] == "allkeys-lfu"
    persistence = info(probe, "redis-cache", "persistence")
    assert persistence["aof_enabled"] == "0"
    assert persistence["rdb_saves"] == "0"


def test_the_queue_never_evicts_and_persists_every_write(probe: Probe) -> None:
    assert info(probe, "redis-queue", "memory")["maxmemory_policy"] == "noeviction"
    persistence = info(probe, "redis-queue", "persistence")
    assert persistence["aof_enabled"] == "1"
    assert persistence["aof_last_write_status"] == "ok"


@pytest.mark.parametrize("host", HOSTS)
def test_memory_is_limited(probe: Probe, host: str) -> None:
    assert int(info(probe, host, "memory")["maxmemory"]) > 0


@pytest.mark.parametrize("host", HOSTS)
def test_no_command_works_without_a_password_or_as_the_default_user(probe: Probe, host: str) -> None:
    for user in ("default", "web", "operator"):
        for guess in ("guess", ""):
            (reply,) = probe.redis_as(user, host, ["PING"], password=guess)
            assert reply.startswith("AuthenticationError"), (user, reply)
    users = probe.redis(host, "ACL", "LIST").splitlines()
    assert [one for one in users if one.startswith("user default off") and "#" not in one], users


@pytest.mark.parametrize(("host", "user"), EACH)
def test_a_password_is_its_users_and_opens_one_redis(probe: Probe, host: str, user: str) -> None:
    assert probe.redis_as(user, host, ["PING"]) == ["PONG"]
    other = HOSTS[1 - HOSTS.index(host)]
    if user in USERS[other]:
        (reply,) = probe.redis_as(user, other, ["PING"], password=secret(f"{host.replace('-', '_')}_{user}"))
        assert reply.startswith("AuthenticationError"), reply


@pytest.mark.parametrize(("host", "user"), EACH)
def test_dangerous_commands_are_off(probe: Probe, host: str, user: str) -> None:
    replies = dict(zip(DANGEROUS, probe.redis_as(user, host, DANGEROUS), strict=True))
    assert not {command: reply for command, reply in replies.items() if not refused(reply)}


@pytest.mark.parametrize("user", USERS["redis-cache"])
def test_in_the_cache_a_service_reads_and_writes_its_own_keys_and_no_other(probe: Probe, user: str) -> None:
    for command in ("GET {}", "EXPIRE {} 60"):  # the latter as a change that changes nothing
        commands = [command.format(key) for key in ALL_KEYS]
        replies = dict(zip(ALL_KEYS, probe.redis_as(user, "redis-cache", commands), strict=True))
        assert {key for key, reply in replies.items() if not refused(reply)} == set(OWN[user]), replies


@pytest.mark.parametrize("user", USERS["redis-cache"])
def test_ended_logins_are_written_by_users_and_read_by_the_services(probe: Probe, user: str) -> None:
    tried = (f"ZRANGEBYSCORE {REVOKED} 0 1", f"ZADD {REVOKED} 0 x", f"GET {REVOKED}")
    replies = probe.redis_each("redis-cache", [f"ACL DRYRUN {user} {command}" for command in tried])
    may = {command.split()[0] for command, reply in zip(tried, replies, strict=True) if reply == "OK"}
    reads = {"ZRANGEBYSCORE"} if user in ("products", "orders") else set()
    assert may == ({"ZRANGEBYSCORE", "ZADD", "GET"} if user in ("users", "users-worker") else reads)


@pytest.mark.parametrize("user", USERS["redis-cache"])
def test_invalidations_are_published_by_services_that_change_the_catalogue(probe: Probe, user: str) -> None:
    published, other = probe.redis_as(user, "redis-cache", ["PUBLISH :1:{caching}:invalidated x", "PUBLISH x x"])
    assert refused(other)
    assert refused(published) == (user not in ("web", "products", "worker", "migrate"))


@pytest.mark.parametrize("user", USERS["redis-queue"])
def test_in_the_queue_a_service_sends_to_its_queues_and_only_its_worker_takes(probe: Probe, user: str) -> None:
    asked = [f"ACL DRYRUN {user} {command}" for one in QUEUES for command in (f"LPUSH {one} x", f"BRPOP {one} 1")]
    replies = probe.redis_each("redis-queue", asked)
    puts, takes = (dict(zip(QUEUES, replies[start::2], strict=True)) for start in (0, 1))
    assert {one for one, reply in puts.items() if reply == "OK"} == set(PUTS[user]), puts
    reads = ("LRANGE {} 0 -1", "GET {}")
    notes = ("HGET unacked:{} x", "HDEL unacked:{} x")
    looks = [command.format(one) for one in QUEUES for command in (*reads, "LINDEX {} 0")]
    looks += [command.format(owner) for owner in ("shop", "users", "orders") for command in notes]
    looks += ["GET x", "SET x y", "LPUSH x y", "HGET unacked x", "SADD _kombu.binding.orders x", "PUBLISH x y"]
    seen = dict(zip(looks, probe.redis_as(user, "redis-queue", looks), strict=True))
    own = TAKES.get(user, [])
    worked = {command for command, reply in seen.items() if not refused(reply)}
    expected = {command.format(one) for one in own for command in reads}
    expected |= {command.format(own[0].partition(".")[0]) for command in notes} if own else set()
    assert worked == expected, seen
    assert {one for one, reply in takes.items() if reply == "OK"} == set(own), takes


def test_a_hung_script_is_killed(probe: Probe) -> None:
    (name,) = probe.redis_as("users", "redis-cache", ["SCRIPT LOAD repeat--[[x]]until(false)"])
    assert len(name) == 40, name
    (reply,) = probe.redis_as("users", "redis-cache", [f"EVALSHA {name} 0"])
    assert reply == "" or "killed" in reply.lower(), reply
    eventually("an answer", lambda: probe.redis("redis-cache", "PING"), lambda seen: seen == "PONG", within=15)


def test_the_exporter_answers_prometheus_only(probe: Probe, stack: Stack) -> None:
    """The services' network cannot reach it; its own network needs Prometheus's password."""
    path = "/scrape?target=redis://redis-cache:6379&check-keys=*"
    code = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert probe.curl(f"http://redis-exporter:9121{path}", *code, check=False).endswith("000")
    own = f"curl -s 'http://redis-exporter-monitoring:9121{path}'"
    assert stack.run_in("prometheus", "sh", "-c", f"{own} {' '.join(code)}").strip() == "401"
    # And with the password it shows no key.
    found = stack.run_in("prometheus", "sh", "-c", f"{own} -u prometheus:$(cat /run/secrets/exporter)")
    assert "redis_up 1" in found
    assert "redis_connected_clients" in found
    assert "sessions" not in found
