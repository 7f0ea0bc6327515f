"""PostgreSQL: one primary, two streaming replicas, two shards, and the roles' rights."""

from __future__ import annotations

import pytest
from support.probe import Probe
from support.restore import is_whole, primary, roles
from support.settings import MAIN_NODES, SHARD_NODES
from support.stack import Stack
from support.wait import eventually

MAIN = ",".join(MAIN_NODES)
WRITER = f"{MAIN} target_session_attrs=read-write"
DATABASES = {
    MAIN: ["shop", "users", "orders", "users_shard_0", "orders_shard_0"],
    "shard-1": ["users_shard_1", "orders_shard_1"],
    "shard-2": ["users_shard_2", "orders_shard_2"],
}
PLACES = [(hosts, database) for hosts, names in DATABASES.items() for database in names]
SETTINGS = {
    "data_checksums": "on",
    "wal_log_hints": "on",
    "password_encryption": "scram-sha-256",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
}
SHARDS = [place for place in PLACES if "shard" in place[1]]


def owner_of(database: str) -> str:
    """Return the context that a database belongs to."""
    return database.split("_", maxsplit=1)[0]


def database_on(host: str) -> str:
    """Return the name of a database on the node `host`."""
    return "shop" if host in MAIN_NODES else f"users_shard_{host[-1]}"


def test_one_primary_streams_to_two_replicas(stack: Stack) -> None:
    eventually("one primary and two streaming replicas", lambda: roles(stack), is_whole, within=10)


def test_every_server_is_set_up_to_lose_nothing(probe: Probe) -> None:
    questions = [
        (host, database_on(host), f"{owner_of(database_on(host))}_app", f"SHOW {setting}")
        for host in (*MAIN_NODES, *SHARD_NODES)
        for setting in SETTINGS
    ]
    answers = probe.sql_each(questions)
    wrong = [
        f"{host}: {query}: {answer}"
        for (host, _, _, query), answer in zip(questions, answers, strict=True)
        if answer != SETTINGS[query.removeprefix("SHOW ")]
    ]
    assert not wrong


def test_a_commit_waits_for_one_of_the_two_replicas(probe: Probe) -> None:
    names = probe.sql(WRITER, "shop", "shop_app", "SHOW synchronous_standby_names")
    assert names.startswith("ANY 1 ("), names


def test_exactly_one_node_takes_writes(probe: Probe, stack: Stack) -> None:
    answers = probe.sql_each([(host, "shop", "shop_app", "SELECT pg_is_in_recovery()") for host in MAIN_NODES])
    recovering = dict(zip(MAIN_NODES, answers, strict=True))
    assert [host for host, answer in recovering.items() if answer == "f"] == [primary(stack)]


def test_what_is_committed_on_the_primary_is_soon_read_on_both_replicas(probe: Probe, stack: Stack) -> None:
    written = probe.sql(WRITER, "shop", "shop_app", "SELECT pg_current_wal_lsn()")
    for host in set(MAIN_NODES) - {primary(stack)}:
        query = f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn"
        eventually(
            f"{host} to have replayed {written}",
            lambda host=host, query=query: probe.sql(host, "shop", "shop_app", query),  # type: ignore[misc]
            lambda seen: seen == "t",
            within=5,
        )


# ── who may do what ───────────────────────────────────────────────────────────────────────────────
def test_the_roles_of_the_server_itself_are_refused_from_the_app_network(probe: Probe) -> None:
    questions = [
        (host, "postgres", role, "SELECT 1")
        for host in (*MAIN_NODES, *SHARD_NODES)
        for role in ("postgres", "replicator", "rewind")
    ]
    answers = zip(questions, probe.sql_each(questions, password="guess"), strict=True)
    assert not [(asked, said) for asked, said in answers if "pg_hba.conf" not in said]


def test_a_wrong_password_is_refused(probe: Probe) -> None:
    answer = probe.sql("postgres-1", "shop", "shop_app", "SELECT 1", check=False, password="wrong")
    assert "password authentication failed" in answer


def test_an_application_role_cannot_change_the_schema_of_any_database(probe: Probe) -> None:
    statements = ("CREATE TABLE intruder (id int)", "CREATE SCHEMA intruder", "DROP TABLE django_migrations")
    questions = [
        (f"{hosts} target_session_attrs=read-write", database, f"{owner_of(database)}_app", statement)
        for hosts, database in PLACES
        for statement in statements
    ]
    answers = zip(questions, probe.sql_each(questions), strict=True)
    refusals = ("permission denied", "must be owner", "does not exist")
    assert not [(asked, said) for asked, said in answers if not any(word in said for word in refusals)]


def test_a_role_opens_the_databases_of_its_own_context_only(probe: Probe) -> None:
    questions = [
        (hosts, database, f"{owner}_{kind}", "SELECT 'in'")
        for owner in ("shop", "users", "orders")
        for hosts, database in [*PLACES, (MAIN, "postgres")]
        for kind in ("app", "owner")
    ]
    opened = {
        (database, role)
        for (_, database, role, _), answer in zip(questions, probe.sql_each(questions), strict=True)
        if answer == "in"
    }
    wanted = {(database, f"{owner_of(database)}_{kind}") for _, database in PLACES for kind in ("app", "owner")}
    assert opened == wanted


def test_no_role_of_the_application_has_a_special_right(probe: Probe) -> None:
    query = (
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^(shop|users|orders)_(app|owner)$'"
        " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
    )
    for host in ("postgres-1", *SHARD_NODES):
        database = database_on(host)
        assert probe.sql(host, database, f"{owner_of(database)}_app", query) == "", host


def test_an_application_role_reads_and_writes_the_rows_of_its_tables(probe: Probe) -> None:
    statements = (
        "BEGIN",
        "INSERT INTO stateless_counter (name, value) VALUES ('right', 1)",
        "UPDATE stateless_counter SET value = 2 WHERE name = 'right'",
        "DELETE FROM stateless_counter WHERE name = 'right'",
        "ROLLBACK",
    )
    probe.sql(WRITER, "shop", "shop_app", "; ".join(statements))


def test_an_application_role_takes_ids_and_cannot_change_the_shard_map(probe: Probe) -> None:
    allowed = "UPDATE sharding_bucket SET last = last WHERE bucket = 0"
    refused = {
        "users_shard_1": ("UPDATE sharding_bucket SET state = 'active'", "DELETE FROM sharding_change"),
        "users": (
            "UPDATE sharding_bucketmap SET shard = 0",
            "INSERT INTO sharding_move (source, target) VALUES (0, 1)",
        ),
    }
    hosts = {"users_shard_1": "shard-1", "users": WRITER}
    probe.sql("shard-1", "users_shard_1", "users_app", allowed)
    questions = [(hosts[where], where, "users_app", query) for where, queries in refused.items() for query in queries]
    assert all("permission denied" in answer for answer in probe.sql_each(questions))


# ── the shards ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("hosts", "database"), SHARDS)
def test_each_shard_is_migrated_and_has_no_table_of_the_shop(probe: Probe, hosts: str, database: str) -> None:
    role = f"{owner_of(database)}_app"
    applied = probe.sql(hosts, database, role, "SELECT count(*) FROM django_migrations")
    assert int(applied) > 0
    tables = probe.sql(hosts, database, role, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
    assert not [name for name in tables if name.startswith(("stateless_", "products_", "django_session"))], tables


def test_the_shop_is_migrated_and_has_no_table_of_a_shard(probe: Probe) -> None:
    tables = probe.sql(MAIN, "shop", "shop_app", "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
    assert {"django_session", "stateless_counter", "products_product"} <= set(tables)
    assert not [name for name in tables if name.startswith("sharding_")], tables


# ── what the app network cannot reach ─────────────────────────────────────────────────────────────
# Lines of `verb url` become the statuses; 000: no connection, or none that speaks this language.
ORDERS = """
while read -r verb url; do
  curl --silent --max-time 10 --insecure --output /dev/null --write-out '%{http_code}\\n' \\
    --request "$verb" --data '{}' "$url"
done
"""


def test_patroni_rejects_commands_from_the_app_network(probe: Probe) -> None:
    orders = [
        f"{verb} {scheme}://{host}:8008/{path}"
        for host in (*MAIN_NODES, *SHARD_NODES)
        for scheme in ("http", "https")
        for verb, path in (("POST", "restart"), ("POST", "failover"), ("PATCH", "config"), ("POST", "reinitialize"))
    ]
    statuses = probe.run("bash", "-c", ORDERS, check=False, text="".join(f"{one}\n" for one in orders)).split()
    assert not [one for one in zip(orders, statuses, strict=True) if one[1] not in ("000", "401", "403")]
