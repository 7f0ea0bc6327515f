"""`prepare`: every database of every context, from nothing, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from waiting import TIME_FACTOR

from config.tests import empty_settings

pytestmark = pytest.mark.django_db(transaction=True)
APP = f"{empty_settings.DATABASES['default']['USER']}_app"
MANAGE = Path(empty_settings.__file__).parents[2] / "manage.py"


@pytest.fixture
def empty_databases(transactional_db: None) -> Iterator[None]:
    """The databases, with nothing in them; gone afterwards."""
    names = [database["NAME"] for database in empty_settings.DATABASES.values()]
    with connections["default"].cursor() as cursor:
        for name in names:
            cursor.execute(f'CREATE DATABASE "{name}"')
        cursor.execute(f'CREATE ROLE "{APP}"')
        yield
        for name in names:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        cursor.execute(f'DROP ROLE "{APP}"')


def prepare(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, MANAGE, "prepare"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.tests.empty_settings"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120 * TIME_FACTOR)
    assert process.returncode == 0, output
    return output


def ask(alias: str, sql: str) -> list[tuple[object, ...]]:
    settings = empty_settings.DATABASES[alias]
    with psycopg.connect(
        dbname=settings["NAME"],
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        client_encoding="utf8",
    ) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def tables(alias: str) -> set[object]:
    rows = ask(
        alias, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'django_migrations'"
    )
    return {name for (name,) in rows}


@pytest.mark.usefixtures("empty_databases")
def test_two_at_once_migrate_each_database_once_and_put_each_table_where_it_belongs() -> None:
    outputs = [said(process) for process in (prepare(), prepare())]
    migrated = [line for output in outputs for line in output.splitlines() if line.startswith("migrating")]
    assert sorted(migrated) == sorted(f"migrating {alias}" for alias in empty_settings.DATABASES)

    assert not {name for name in tables("default") if str(name).startswith(("sharding_", "users_", "orders_"))}
    events = {"events_outbox", "events_inbox", "events_later"}
    assert tables("default") > events
    own = events | {"sharding_bucketmap", "sharding_mapversion", "sharding_move", "sharding_movebucket"}
    assert tables("users") == own | {"users_emaildirectory"}
    assert tables("orders") == own | {"orders_productname"}
    shard = events | {"sharding_shardidentity", "sharding_bucket", "sharding_change"}
    for number in range(3):
        assert tables(f"users_shard_{number}") == shard | {"users_user", "users_login"}
        assert tables(f"orders_shard_{number}") == shard | {"orders_order", "orders_orderitem", "orders_inbox"}
        assert ask(f"users_shard_{number}", "SELECT name FROM sharding_shardidentity") == [(f"users_shard_{number}",)]
        assert ask(f"users_shard_{number}", "SELECT count(*) FROM sharding_bucket") == [(342 if number == 0 else 341,)]
    assert ask("users", "SELECT version FROM sharding_mapversion") == [(1,)]


@pytest.mark.usefixtures("empty_databases")
def test_the_application_may_take_ids_and_cannot_say_which_shard_holds_what() -> None:
    said(prepare())

    def may(alias: str, right: str, table: str, column: str) -> object:
        question = f"SELECT has_column_privilege('{APP}', '{table}', '{column}', '{right}')"
        return ask(alias, question)[0][0]

    assert may("users_shard_1", "UPDATE", "sharding_bucket", "last")
    assert not may("users_shard_1", "UPDATE", "sharding_bucket", "state")
    ask("users", f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{APP}"')
    ask("users_shard_1", f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{APP}"')
    assert may("users", "UPDATE", "sharding_bucketmap", "shard")
    said(prepare())
    same = (
        "SELECT c.xmin = a.xmin FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relname = 'sharding_bucket' AND a.attname = 'last'"
    )
    assert ask("users_shard_1", same) == [(True,)], "taken in one transaction and given back in another"
    assert not may("users", "UPDATE", "sharding_bucketmap", "shard")
    assert not may("users", "INSERT", "sharding_move", "step")
    assert may("users", "UPDATE", "users_emaildirectory", "state")


@pytest.mark.usefixtures("empty_databases")
def test_a_database_that_fails_is_named_and_the_others_are_finished() -> None:
    ask("orders", "SELECT 1 INTO sharding_bucketmap")
    output, _ = (process := prepare()).communicate(timeout=120 * TIME_FACTOR)
    assert process.returncode != 0
    assert "orders: ProgrammingError" in output
    assert "users_user" in tables("users_shard_0")


@pytest.mark.usefixtures("empty_databases")
def test_an_application_whose_tables_no_database_has_is_named_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "more_settings.py").write_text(
        "from config.tests.empty_settings import *\n"
        "INSTALLED_APPS += ['django.contrib.auth', 'django.contrib.contenttypes']\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    output, _ = (process := prepare(DJANGO_SETTINGS_MODULE="more_settings", PYTHONPATH=path)).communicate(
        timeout=120 * TIME_FACTOR
    )
    assert process.returncode != 0
    assert "no database is set for the tables of auth, contenttypes" in output
    assert not tables("default")


def test_every_model_is_as_its_migrations_say(empty_databases: None) -> None:
    """Else `make migrations` for one changed model would make migrations of others too."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.tests.empty_settings"}
    command = [sys.executable, str(MANAGE), "makemigrations", "--check", "--dry-run"]
    result = subprocess.run(
        command, env=environment, text=True, capture_output=True, timeout=120 * TIME_FACTOR, check=False
    )
    assert (result.returncode, result.stdout) == (0, "No changes detected\n"), result.stdout + result.stderr
