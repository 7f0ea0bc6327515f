"""Failures of PostgreSQL nodes, of one and of all."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from secrets import token_urlsafe

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.own import OwnReads, replay_stopped
from support.probe import Probe
from support.restore import everywhere_healthy, health, is_whole, patroni, primary, roles
from support.settings import MAIN_NODES, REPLICAS, ROOT, TIME_FACTOR, secret
from support.stack import Stack, run
from support.wait import eventually

pytestmark = pytest.mark.failure

WRITES_BACK = 30.0  # seconds from the loss of the primary until a write succeeds
READ_WAITS = 1.0  # seconds that a read waits because writes wait
WRITE_WAITS = 3.0  # seconds until a write is answered that no replica confirms
LAG = 15.0  # seconds; after 10 a replica is not read
NEVER_WELL = 20.0  # seconds for which a replica is watched that streams nothing
REJOINED = 60.0  # seconds until a node that was restarted streams again
APPLIED = 15.0  # seconds from the start of a primary until the passwords are those of the secrets
ALONE = 10.0  # seconds for which one server of three is left
SWITCHED = 5.0  # seconds that a switchover, which is planned, may keep writes waiting


def replicas_of(stack: Stack) -> list[str]:
    """Return the names of the two nodes that are not the primary."""
    leader = primary(stack)
    return [name for name in MAIN_NODES if name != leader]


def reads(site: Site, product: int, rate: float = 60) -> Load:
    """Return a load of reads that a database replica may answer: cached pages and searches."""
    paths = ["/", f"/products/{product}/", "/search/?q=e", "/api/products/?q=e&limit=5"]
    return Load(site, paths, rate=rate, threads=6)


def longest_gap(load: Load) -> float:
    """Return the longest time between two answers of 200, in seconds."""
    moments = sorted(one.started + one.seconds for one in load.outcomes if not one.failed)
    return max(later - earlier for earlier, later in pairwise(moments))


def wait_for(load: Load, requests: int) -> None:
    """Wait until `requests` more have been answered."""
    goal = len(load.outcomes) + requests
    eventually(f"{requests} more requests", lambda: len(load.outcomes) >= goal, within=requests / load.rate + 10)


def test_reads_continue_without_one_replica(broken: Stack, site: Site, product: int) -> None:
    with reads(site, product) as load:
        wait_for(load, 60)
        broken.stop(replicas_of(broken)[0])
        wait_for(load, 240)
        assert site.get("/health/").status_code == 200
    assert_all_answered(load)


def test_reads_continue_without_any_replica_and_writes_recover(broken: Stack, site: Site, product: int) -> None:
    with reads(site, product) as load:
        broken.stop(*replicas_of(broken))
        wait_for(load, 240)
        eventually("a write to be answered", lambda: site.post("/counter/").status_code == 200, within=WRITES_BACK)
        assert site.get("/health/").status_code == 200
    assert_all_answered(load)


def test_reads_continue_without_the_primary_and_writes_recover_on_another_node(
    broken: Stack, site: Site, product: int
) -> None:
    old = primary(broken)
    before = site.get("/counter/").json()["count"]
    with (
        reads(site, product, rate=40) as load,
        Load(site, ["/counter/"], method="POST", rate=10, threads=4) as posts,
    ):
        wait_for(load, 40)
        broken.kill(old)
        eventually(
            "degraded, not away",
            lambda: site.get("/health/"),
            lambda a: a.json()["status"] == "degraded",
            within=10,
        )
        assert site.get("/health/").status_code == 200
        moment = posts.elapsed
        eventually(
            "writes on another node",
            lambda: [one for one in posts.since(moment) if not one.failed],
            within=WRITES_BACK,
        )
        assert longest_gap(posts) <= WRITES_BACK * TIME_FACTOR, posts.summary()
        wait_for(posts, 20)
    assert primary(broken) != old
    assert len(load.failures()) <= len(load.outcomes) / 100, load.summary()
    # Nothing that was answered is lost; what was not answered may have been counted.
    assert posts.answered() <= site.get("/counter/").json()["count"] - before <= len(posts.outcomes)


def test_without_any_database_the_site_is_unhealthy_and_then_recovers(broken: Stack, site: Site) -> None:
    broken.kill(*MAIN_NODES)
    eventually(
        "every replica to say unhealthy",
        lambda: everywhere_healthy(broken),
        lambda seen: seen == ["unhealthy"] * REPLICAS,
        within=15,
    )
    answer = site.get("/health/")
    assert answer.status_code == 503
    assert answer.elapsed.total_seconds() < 3 * TIME_FACTOR
    assert site.get("/health/live").status_code == 200
    page = site.get("/search/?q=e")
    assert page.status_code in (503, 504)
    assert page.elapsed.total_seconds() < 3 * TIME_FACTOR, "the caller of a site without a database waits"
    broken.start(*MAIN_NODES)
    eventually("healthy again", lambda: health(site)["status"], lambda seen: seen == "healthy", within=60)


def test_a_switchover_fails_no_read_and_writes_are_back_within_five_seconds(
    broken: Stack, site: Site, product: int
) -> None:
    old = primary(broken)
    before = site.get("/counter/").json()["count"]
    with reads(site, product) as load, Load(site, ["/counter/"], method="POST", rate=10, threads=4) as posts:
        wait_for(load, 60)
        run("make", "switchover", timeout=60)
        eventually("another primary", lambda: primary(broken), lambda seen: seen != old, within=15)
        wait_for(posts, 30)
        eventually("two streaming replicas", lambda: roles(broken), is_whole, within=60)
    assert_all_answered(load)
    assert longest_gap(posts) <= SWITCHED * TIME_FACTOR, posts.summary()
    assert posts.answered() <= site.get("/counter/").json()["count"] - before <= len(posts.outcomes)


def test_with_both_replicas_hung_reads_and_writes_are_answered_in_time(broken: Stack, site: Site, product: int) -> None:
    before = site.get("/counter/").json()["count"]
    with (
        reads(site, product, rate=20) as load,
        Load(site, ["/counter/"], method="POST", rate=20, threads=8) as counts,
        Load(site, ["/session/"], rate=3, keepalive=False) as sessions,  # a new one each time
    ):
        wait_for(load, 60)
        paused = load.elapsed
        broken.pause(*replicas_of(broken))
        eventually("20 s", lambda: load.elapsed - paused > 20, within=60)
        broken.start(*MAIN_NODES)
        eventually("writes", lambda: site.post("/counter/").status_code == 200, within=WRITES_BACK)
    assert_all_answered(load)
    late = max(one.seconds for one in load.since(paused))
    assert late <= READ_WAITS * TIME_FACTOR, load.summary()
    for writes in (counts, sessions):
        assert {one.status for one in writes.outcomes} <= {200, 503}, writes.summary()
        assert max(one.seconds for one in writes.outcomes) <= WRITE_WAITS * TIME_FACTOR, writes.summary()
    stored = site.get("/counter/").json()["count"] - before
    doubtful = sum("may have been stored" in one.says for one in counts.failures())
    assert counts.answered() + 1 <= stored <= counts.answered() + 1 + doubtful, counts.summary()


def as_superuser(stack: Stack, node: str, *statements: str) -> str:
    """Run SQL on a node as its superuser, each statement for itself, and return what it prints."""
    options = [word for statement in statements for word in ("-c", statement)]
    return stack.run_in(
        node, "psql", "-h", "/run/postgresql", "-U", "postgres", "-d", "shop", "-XAtq", *options
    ).strip()


REPORT = 8  # seconds; max_standby_streaming_delay ends one at 10


def test_reads_do_not_fail_while_a_replica_waits_to_replay_a_lock(broken: Stack, site: Site, product: int) -> None:
    replica, leader = replicas_of(broken)[0], primary(broken)
    table = "products_product"
    # The replay of a migration's lock waits for a report, and each later read of the table there
    # waits behind it.
    report = ("BEGIN", f"SELECT count(*) FROM {table}", f"SELECT pg_sleep({REPORT})", "COMMIT")
    waiting = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND NOT granted"
    reporting = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND granted"
    with reads(site, product, rate=20) as load:
        wait_for(load, 40)
        thread = threading.Thread(target=as_superuser, args=(broken, replica, *report))
        thread.start()
        eventually("the report", lambda: as_superuser(broken, replica, reporting), lambda n: n != "0", within=REPORT)
        as_superuser(broken, leader, "BEGIN", f"LOCK TABLE {table}", "COMMIT")
        eventually("a wait", lambda: as_superuser(broken, replica, waiting), lambda n: n != "0", within=REPORT)
        thread.join()
        wait_for(load, 40)
    assert_all_answered(load)


def test_a_replica_that_can_never_catch_up_is_not_healthy_and_is_copied_again(broken: Stack, site: Site) -> None:
    leader, replica = primary(broken), replicas_of(broken)[0]
    slot = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{replica.replace('-', '_')}'"
    small = ("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "ALTER SYSTEM SET wal_keep_size = 0")
    usual = ("ALTER SYSTEM RESET max_slot_wal_keep_size", "ALTER SYSTEM RESET wal_keep_size")
    stopped = time.monotonic()
    broken.stop(replica)
    try:
        as_superuser(broken, leader, *small, "SELECT pg_reload_conf()")
        for _ in range(4):
            as_superuser(broken, leader, "SELECT pg_logical_emit_message(true, 'test', 'x')", "SELECT pg_switch_wal()")
        as_superuser(broken, leader, "CHECKPOINT")
        eventually(
            "the log to be gone", lambda: as_superuser(broken, leader, slot), lambda a: a in ("", "lost"), within=30
        )
    finally:
        as_superuser(broken, leader, *usual, "SELECT pg_reload_conf()")
    eventually("it to lag too far", lambda: time.monotonic() - stopped > LAG, within=LAG)
    run("docker", "start", broken.containers(replica, stopped=True)[0].id)
    try:
        eventually("PostgreSQL to run", lambda: health_of(broken, replica), lambda said: "running" in said, within=60)
        end = time.monotonic() + NEVER_WELL
        while time.monotonic() < end:
            assert broken.containers(replica)[0].details["State"]["Health"]["Status"] != "healthy"
            assert health(site)["status"] == "degraded"
    finally:
        run("docker", "compose", "exec", "-T", replica, "patronictl", "reinit", "main", replica, "--force")
    eventually("the copy to stream", lambda: roles(broken), is_whole, within=120)
    eventually("healthy again", lambda: health(site)["status"], lambda seen: seen == "healthy", within=60)


def health_of(stack: Stack, node: str) -> str:
    """Return what Patroni says of its PostgreSQL."""
    return patroni(stack, node, "health")


def change(name: str, password: str) -> None:
    """Replace a secret's password atomically, as scripts/secrets.sh does."""
    target = ROOT / "secrets" / name
    fresh = target.with_name(f".{name}.test")
    fresh.write_text(password, encoding="utf-8")
    fresh.chmod(0o444)
    fresh.replace(target)


def restart_one_after_the_other(stack: Stack) -> None:
    """Restart the nodes of the main cluster, the primary last: a restart reads the new secret."""
    for node in [*replicas_of(stack), primary(stack)]:
        run("docker", "restart", stack.container(node).id, timeout=90)
        eventually(f"{node} to be back", lambda: roles(stack), is_whole, within=REJOINED)


def test_a_changed_password_applies_after_a_restart_and_is_in_no_log(broken: Stack, site: Site, probe: Probe) -> None:
    name, role = "db_orders_owner", "orders_owner"  # a migration's: no service that runs has a connection of it
    before, after = secret(name), f"test-{token_urlsafe(24)}"

    def log_in(password: str) -> str:
        return probe.sql(primary(broken), "orders", role, "SELECT current_user", check=False, password=password)

    try:
        change(name, after)
        assert log_in(before) == role
        restart_one_after_the_other(broken)
        eventually("a login with the new password", lambda: log_in(after), lambda said: said == role, within=APPLIED)
        assert "authentication failed" in log_in(before)
        assert site.post("/counter/").status_code == 200
    finally:
        change(name, before)
        restart_one_after_the_other(broken)
    eventually("a login with the old password", lambda: log_in(before), lambda said: said == role, within=APPLIED)
    logs = broken.logs(*MAIN_NODES, tail=2000)
    assert f"the password of {role} is now that of the secret {name}" in logs
    assert after not in logs
    assert before not in logs
    assert "SCRAM-SHA-256$" not in logs


def test_one_replica_hangs_while_the_other_lags_and_reads_are_answered_in_time_and_none_is_stale(
    broken: Stack, site: Site, product: int
) -> None:
    hung, lagging = replicas_of(broken)
    before = site.get("/counter/").json()["count"]
    with reads(site, product, rate=20) as load, OwnReads(site) as own:
        wait_for(load, 40)
        with replay_stopped(broken, lagging):
            moment = load.elapsed
            broken.pause(hung)
            eventually(f"{LAG} s, in which one lags too far", lambda: load.elapsed - moment > LAG, within=3 * LAG)
            broken.start(hung)
        eventually("two streaming replicas", lambda: roles(broken), is_whole, within=REJOINED)
        wait_for(load, 40)
    assert_all_answered(load)
    assert max(one.seconds for one in load.since(moment)) <= READ_WAITS * TIME_FACTOR, load.summary()
    assert set(own.seen) == {"fresh"}, own.summary()
    assert own.slowest <= READ_WAITS * TIME_FACTOR, own.summary()
    assert own.writes <= site.get("/counter/").json()["count"] - before <= own.tried, own.summary()


def test_after_the_loss_of_primary_and_replica_the_last_node_loses_nothing_and_serves_nothing_stale(
    broken: Stack, site: Site, product: int
) -> None:
    """The last one may lack what the lost replica has confirmed, so Patroni asks for that one
    before it promotes.
    """
    old, lost = primary(broken), replicas_of(broken)[0]
    before = site.get("/counter/").json()["count"]
    with reads(site, product, rate=20) as load, OwnReads(site) as own:
        wait_for(load, 60)
        broken.kill(old, lost)
        alone = load.elapsed
        eventually(f"{ALONE} s with one server", lambda: load.elapsed - alone > ALONE, within=2 * ALONE)
        written = own.writes
        broken.start(lost)
        eventually("writes on a new primary", lambda: own.writes, lambda now: now > written, within=WRITES_BACK)
        assert primary(broken) != old
        broken.start(old)
        eventually("two streaming replicas", lambda: roles(broken), is_whole, within=REJOINED)
        wait_for(load, 40)
    assert len(load.failures()) <= len(load.outcomes) / 100, load.summary()
    assert own.seen["fresh"], own.summary()
    assert not own.seen["stale"], own.summary()
    # Nothing that was answered is lost; what was not answered may have been counted.
    assert own.writes <= site.get("/counter/").json()["count"] - before <= own.tried, own.summary()
