"""The bench of moves: its whole program, on a server of its own with `wal_level = logical`."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benches import move
from harness.program import Program
from programs import move as program

BENCH = Path(__file__).resolve().parents[1]

# What the server's making says goes to standard error: the answers stand alone.
SERVER = """\
exec 3>&1 >&2
exec pg_virtualenv -t -v 17 -c "--port=$0" -o wal_level=logical sh -c 'exec "$0" "$@" >&3' "$@"
"""
# One server with a database for each alias: the program makes its slot by a statement of its own,
# so a server can follow itself.
SERVING = """\
import os, sys
os.environ |= {"DJANGO_SETTINGS_MODULE": "programs.settings", "BENCH_MAIN": "localhost", "BENCH_SHARDS": "a b c"}
os.environ["BENCH_PASSWORD_FILE"] = os.environ["BENCH_QUEUE_FILE"] = sys.argv[1]
with open(sys.argv[1], "w") as password:
    password.write(os.environ["PGPASSWORD"])
import django, psycopg
from django.conf import settings
with psycopg.connect(autocommit=True) as server:
    for alias in ("default", "shard0", "shard1", "shard2"):
        server.execute(f'CREATE DATABASE "{alias}"')
        settings.DATABASES[alias] |= {"NAME": alias, "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"]}
        settings.DATABASES[alias]["HOST"] = "localhost"
django.setup()
from programs import move
move.ROWS, move.COUNTED = 5_000, 50

def ask(alias, question):
    with psycopg.connect(dbname=alias, autocommit=True) as server:
        return server.execute(question).fetchone()[0]

# How many rows, and the sum of their hashes.
ROWS = "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(one::text, 0)::numeric), 0) FROM users_user one"

def state():
    sources = ("shard0", "shard1")
    return {
        "here": [ask(one, ROWS + " WHERE (id >> 11) & 1023 < 100") for one in sources],
        "there": ask("shard2", ROWS),
        "blocked": [ask(one, "SELECT count(*) FROM sharding_bucket WHERE state <> 'active'") for one in sources],
        "logged": ask("shard0", "SELECT count(*) FROM sharding_bucket WHERE logged AND bucket < 100"),
        "changes": ask("shard0", "SELECT count(*) FROM sharding_change"),
        "slots": ask("shard1", "SELECT count(*) FROM pg_replication_slots"),
        "publications": ask("shard1", "SELECT count(*) FROM pg_publication"),
        "subscriptions": ask("shard2", "SELECT count(*) FROM pg_subscription"),
        "indexes": sum(ask(one, "SELECT count(*) FROM pg_class WHERE relname = 'users_user_by_bucket'")
                       for one in (*sources, "shard2")),
    }

move.serve(move.OPERATIONS, move.prepare, calls=move.CALLS | {"state": state})
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("serving")
    script = folder / "serving.py"
    script.write_text(SERVING)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Nothing of the server that the other tests use.
    others = [word for name in os.environ if name.startswith(("PG", "DJANGO")) for word in ("-u", name)]
    path = f"PYTHONPATH={BENCH}:{BENCH.parent / 'app'}"
    serve = [sys.executable, str(script), str(folder / "password")]
    with Program(["env", *others, path, "sh", "-c", SERVER, str(port), *serve]) as running:
        yield running


def count(rows: str) -> int:
    """Return how many rows there are."""
    return int(rows.partition(" ")[0])


@pytest.mark.parametrize(("call", "source"), [("mover", 0), ("replication", 1)])
@pytest.mark.parametrize("written", ["", ", written"])
def test_a_move_has_every_row_there_and_writes_blocked_and_can_be_put_back(
    serving: Program, call: str, source: int, written: str
) -> None:
    before = serving.call("state")
    assert before["there"] == "0 0"
    assert before["indexes"] == before["slots"] == before["logged"] == 0
    assert before["blocked"] == [0, 0]
    found = serving.call(call + written)
    moved = serving.call("state")
    assert moved["there"] == moved["here"][source]
    assert count(moved["there"]) > 300
    assert moved["blocked"][source] == len(program.MOVED)
    assert moved["blocked"][1 - source] == 0
    assert 0 < found["drain"] < found["pause"]
    assert (found["written"] > 0) == (moved["here"] != before["here"])
    assert written or not found["written"]  # on a busy machine a writer may come too late
    serving.call("back")
    assert serving.call("state") == before | {"here": moved["here"]}


def test_what_is_followed_arrives_until_it_is_put_back(serving: Program) -> None:
    before = serving.call("state")
    serving.call("follow")
    assert count(serving.call("state")["there"]) > 300
    serving.call("back")
    assert serving.call("state") == before


def test_a_writer_is_noted_where_its_variant_says_so_and_nowhere_else(serving: Program) -> None:
    for name in program.OPERATIONS:
        before = serving.call("state")["changes"]
        done = serving.ask({"run": name, "seconds": 0.05})["count"]
        assert done > 0
        assert serving.call("state")["changes"] - before == (done if name == "logged" else 0)


def test_wal_is_counted_and_a_logged_write_makes_more_of_it(serving: Program) -> None:
    made = serving.call("wal")
    assert set(made) == {"plain", "logged", "logical"}
    assert made["logged"] > made["plain"] > program.COUNTED / 20


@pytest.mark.parametrize("group", move.GROUPS)
def test_the_program_has_every_call_that_the_bench_asks_for(group: move.Group) -> None:
    assert set(group.calls.values()) <= set(program.CALLS)
    assert group.calls[group.control] == group.calls[group.baseline] == next(iter(group.names))


def test_what_is_followed_is_measured_on_the_server_that_can_be() -> None:
    assert {alias for name, (alias, _) in program.WRITES.items() if name in move.FOLLOWING} == {program.LOGICAL}
    assert list(move.TRIALS)[-len(move.FOLLOWING) :] == sorted(move.FOLLOWING, reverse=True)
