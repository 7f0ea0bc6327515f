"""Redis twice: a cache that may forget, and a queue that may not."""

from __future__ import annotations

import pytest
from support.probe import Probe

HOSTS = ["redis-cache", "redis-queue"]
DANGEROUS = [
    "FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG GET *", "CONFIG SET maxmemory 0", "DEBUG JMAP",
    "SHUTDOWN ABORT", "REPLICAOF NO ONE", "MODULE LIST", "ACL LIST", "ACL SETUSER x", "SAVE", "BGSAVE",
    "BGREWRITEAOF", "MONITOR", "CLIENT KILL ID 0", "SWAPDB 0 1", "SORT x",
]  # fmt: skip


def info(probe: Probe, host: str, section: str) -> dict[str, str]:
    """Return a section of INFO."""
    lines = probe.redis(host, "INFO", section).splitlines()
    return dict(line.strip().split(":", 1) for line in lines if ":" in line)


def test_the_cache_evicts_what_is_used_least_and_keeps_nothing(probe: Probe) -> None:
    assert info(probe, "redis-cache", "memory")["maxmemory_policy"] == "allkeys-lfu"
    persistence = info(probe, "redis-cache", "persistence")
    assert persistence["aof_enabled"] == "0"
    assert persistence["rdb_saves"] == "0"


def test_the_queue_never_evicts_and_writes_everything_down(probe: Probe) -> None:
    assert info(probe, "redis-queue", "memory")["maxmemory_policy"] == "noeviction"
    persistence = info(probe, "redis-queue", "persistence")
    assert persistence["aof_enabled"] == "1"
    assert persistence["aof_last_write_status"] == "ok"


@pytest.mark.parametrize("host", HOSTS)
def test_memory_is_limited(probe: Probe, host: str) -> None:
    assert int(info(probe, host, "memory")["maxmemory"]) > 0


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_done_without_the_password(probe: Probe, host: str) -> None:
    assert probe.redis(host, "PING", password="").startswith("NOAUTH")
    refused = probe.redis(host, "PING", password="guess")
    assert "WRONGPASS" in refused
    assert "PONG" not in refused


def test_the_two_have_different_passwords(probe: Probe) -> None:
    assert probe.redis("redis-cache", "PING") == "PONG"
    assert probe.redis("redis-queue", "PING") == "PONG"
    from_the_other = probe.redis("redis-queue", "PING", password="")
    assert from_the_other.startswith("NOAUTH")


@pytest.mark.parametrize("host", HOSTS)
def test_dangerous_commands_are_off(probe: Probe, host: str) -> None:
    replies = dict(zip(DANGEROUS, probe.redis_each(host, DANGEROUS), strict=True))
    # DEBUG has a lock of its own, before the user's rights are looked at.
    refusals = ("NOPERM", "ERR unknown command", "ERR DEBUG command not allowed")
    assert not {command: reply for command, reply in replies.items() if not reply.startswith(refusals)}


@pytest.mark.parametrize("host", HOSTS)
def test_ordinary_commands_work(probe: Probe, host: str) -> None:
    commands = ["SET tests:key value EX 60", "GET tests:key", "DEL tests:key"]
    assert probe.redis_each(host, commands) == ["OK", "value", "1"]
