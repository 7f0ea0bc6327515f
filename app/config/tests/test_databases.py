"""The databases that each service opens, and the tables that are created in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.databases import databases
from config.routers import OwnershipRouter


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in ("SHOP", "USERS", "ORDERS"):
        (tmp_path / owner).write_text("secret")
        monkeypatch.setenv(f"DB_{owner}_PASSWORD_FILE", str(tmp_path / owner))


@pytest.mark.parametrize("context", ["users", "orders"])
def test_a_sharded_service_has_its_own_database_and_a_pool_for_each_shard(context: str) -> None:
    found = databases(context)
    assert list(found.settings) == ["default", "replica1", "replica2", "shard0", "shard1", "shard2"]
    places = {alias: (one["NAME"], one["HOST"], one["USER"]) for alias, one in found.settings.items()}
    assert places["default"] == (context, "postgres-1,postgres-2,postgres-3", f"{context}_app")
    assert places["shard0"] == (f"{context}_shard_0", "postgres-1,postgres-2,postgres-3", f"{context}_app")
    assert places["shard2"] == (f"{context}_shard_2", "shard-2", f"{context}_app")
    assert {one["OPTIONS"]["target_session_attrs"] for alias, one in found.settings.items() if "shard" in alias} == {
        "read-write"
    }
    assert found.shards == {"default": {0: "shard0", 1: "shard1", 2: "shard2"}}


def test_another_shard_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA_SHARDS", "shard-3,shard-4")
    found = databases("users")
    assert found.shards["default"][4] == "shard4"
    assert (found.settings["shard4"]["NAME"], found.settings["shard4"]["HOST"]) == ("users_shard_4", "shard-4")
    assert databases("migrate").shards["orders"][3] == "orders_shard_3"


def test_another_replica_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA_REPLICAS", "postgres-4")
    found = databases("web").settings
    assert list(found) == ["default", "replica1", "replica2", "replica3"]
    assert found["default"]["HOST"] == "postgres-1,postgres-2,postgres-3,postgres-4"
    assert found["replica3"]["HOST"] == "postgres-4,postgres-1,postgres-2,postgres-3"
    assert [found[f"replica{number}"]["STANDBY"] for number in (1, 2, 3)] == [0, 1, 2]
    assert found["replica3"]["PORT"] == "5432,5432,5432,5432"


def test_the_migration_opens_every_database_by_its_own_name() -> None:
    found = databases("migrate")
    assert set(found.apps) == set(found.settings) == {
        "default", "users", "users_shard_0", "users_shard_1", "users_shard_2",
        "orders", "orders_shard_0", "orders_shard_1", "orders_shard_2",
    }  # fmt: skip
    assert set(databases("web").settings) == {"default", "replica1", "replica2"}
    assert databases("web").shards == {}


@pytest.mark.parametrize("service", ["web", "products", "users", "orders", "users-worker"])
def test_a_server_or_worker_checks_each_connection_and_gives_up_on_a_lost_host_within_seconds(service: str) -> None:
    for alias, one in databases(service).settings.items():
        options = one["OPTIONS"]
        assert one["CONN_HEALTH_CHECKS"] is True, alias
        assert (options["connect_timeout"], options["tcp_user_timeout"]) == (2, 3000), alias
        keepalives = tuple(options[f"keepalives_{name}"] for name in ("idle", "interval", "count"))
        assert keepalives == (5, 2, 2), alias
        patience = " -c lock_timeout=500" if "STANDBY" in one else ""
        assert options["options"] == f"-c idle_in_transaction_session_timeout=3000{patience}", alias
        assert options["application_name"], alias


@pytest.mark.parametrize("service", ["web", "users", "orders-worker"])
def test_a_process_pools_few_connections_and_waits_for_one_no_longer_than_the_load_balancer_does(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"min_size": 0, "max_size": 4, "timeout": 1.5, "max_lifetime": 300.0, "max_idle": 60.0}
    for one in databases(service).settings.values():
        assert one["OPTIONS"]["pool"] == expected | {"reconnect_timeout": 2.0}
    monkeypatch.setenv("POOL_SIZE", "9")
    assert {one["OPTIONS"]["pool"]["max_size"] for one in databases(service).settings.values()} == {9}


def test_the_migration_opens_no_pool_and_may_hold_a_transaction_open() -> None:
    for one in databases("migrate").settings.values():
        assert (one["OPTIONS"]["pool"], one["OPTIONS"]["options"]) == (False, "")


@pytest.mark.parametrize(
    ("alias", "label", "model", "allowed"),
    [
        ("default", "sharding", "bucketmap", True),
        ("default", "sharding", "bucket", False),
        ("shard1", "sharding", "bucketmap", False),
        ("shard1", "sharding", "bucket", True),
        ("shard1", "users", "user", True),
        ("shard1", "users", "emaildirectory", False),
        ("shard1", "users", None, True),
        ("shard1", "products", None, False),
        ("replica1", "users", "user", False),
    ],
)
def test_an_application_can_be_split_model_by_model(alias: str, label: str, model: str | None, allowed: bool) -> None:
    assert OwnershipRouter().allow_migrate(alias, label, model_name=model) is allowed
