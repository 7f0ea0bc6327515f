"""The map: filled once, versioned by the database, remembered for no longer than its lease."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from django.conf import LazySettings, settings
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from scaleout.sharding import shard_map
from scaleout.sharding.errors import MapIncomplete, MapUnavailable
from scaleout.sharding.fill import fill
from scaleout.sharding.ids import BUCKETS
from scaleout.sharding.models import Bucket, BucketMap, MapVersion, ShardIdentity, ShardMismatchError
from scaleout.sharding.router import ShardRouter
from scaleout.sharding.shard_map import ShardMap

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]


def version() -> int:
    return MapVersion.objects.using("default").get().version


def after_the_lease() -> None:
    threading.Event().wait(shard_map.LEASE + 0.05)


def test_the_first_fill_spreads_the_buckets_evenly_and_the_shards_agree() -> None:
    held = {number: shard_map.current().buckets_of(number) for number in settings.SHARDING["SHARDS"]}
    assert [len(buckets) for buckets in held.values()] == [342, 341, 341]
    for number, alias in settings.SHARDING["SHARDS"].items():
        assert list(Bucket.objects.using(alias).order_by("bucket").values_list("bucket", flat=True)) == held[number]


def test_a_second_fill_changes_nothing_and_gives_a_new_shard_nothing() -> None:
    before = version()
    shard_map.reassign("default", [0], 0, 2)
    fill("default", settings.SHARDING["SHARDS"])
    assert version() == before + 1
    assert BucketMap.objects.using("default").get(bucket=0).shard == 2
    assert not Bucket.objects.using("shard2").filter(bucket=0).exists()


def test_a_shard_that_has_lost_all_it_held_is_not_filled_again() -> None:
    ShardIdentity.objects.using("shard1").all().delete()
    Bucket.objects.using("shard1").all().delete()
    with pytest.raises(ShardMismatchError, match="the map says that it holds 341 buckets"):
        fill("default", settings.SHARDING["SHARDS"])
    assert not Bucket.objects.using("shard1").exists()


def test_every_change_by_any_client_gives_a_new_version_in_the_same_transaction() -> None:
    before = version()
    BucketMap.objects.using("default").filter(bucket=5).update(shard=0)
    assert version() == before + 1
    assert BucketMap.objects.using("default").get(bucket=5).version == before + 1
    with transaction.atomic(using="default"):
        shard_map.reassign("default", [6], 0, 1)
        transaction.set_rollback(True, using="default")
    assert version() == before + 1


def test_reassigning_takes_only_what_the_source_holds() -> None:
    assert shard_map.reassign("default", [0, 1, 3], 0, 2) == 2
    shard_map.current().expire()
    assert [shard_map.current().number(bucket) for bucket in (0, 1, 3)] == [2, 1, 2]


def test_a_process_learns_of_a_change_after_its_lease_and_asks_for_the_map_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = shard_map.current()
    with monkeypatch.context() as patched:
        patched.setattr(shard_map, "LEASE", 60.0)  # however slow this test is
        assert known.number(0) == 0
        with CaptureQueriesContext(connections["default"]) as quiet:
            assert known.number(0) == 0
    assert len(quiet) == 0
    after_the_lease()
    with CaptureQueriesContext(connections["default"]) as asked:
        assert known.number(0) == 0
    assert [query["sql"] for query in asked if "bucketmap" in query["sql"]] == []
    assert [query["sql"] for query in asked if "mapversion" in query["sql"]]
    shard_map.reassign("default", [0], 0, 2)
    after_the_lease()
    assert known.number(0) == 2


def test_a_map_that_was_read_before_the_machine_was_suspended_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = [0.0]

    def clock_gettime(clock: int) -> float:
        return time.monotonic() + (slept[0] if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(shard_map, "LEASE", 60.0)
    monkeypatch.setattr(shard_map, "time", SimpleNamespace(monotonic=time.monotonic, clock_gettime=clock_gettime))
    known = shard_map.current()
    assert known.number(0) == 0
    shard_map.reassign("default", [0], 0, 2)
    assert known.number(0) == 0
    slept[0] = 3600.0  # as Linux shows it: CLOCK_MONOTONIC stood still
    assert known.number(0) == 2


def test_a_map_that_cannot_be_read_is_refused_after_its_lease_without_a_queue_of_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_map, "LEASE", 60.0)  # however slow this test is
    known = shard_map.current()
    assert known.number(0) == 0
    monkeypatch.setattr(known._breaker, "seconds", 60.0)
    lost = connections["default"].settings_dict
    port = lost["PORT"]
    monkeypatch.setitem(lost, "PORT", "1")
    connections["default"].close()
    assert known.number(0) == 0
    monkeypatch.setattr(shard_map, "LEASE", 0.0)
    with pytest.raises(MapUnavailable, match="cannot be read from default"):
        known.number(0)
    monkeypatch.setitem(lost, "PORT", port)
    with pytest.raises(MapUnavailable):  # the database works again, but was not asked
        known.number(0)
    monkeypatch.setattr(known._breaker, "seconds", 0.0)
    assert known.number(0) == 0


def test_an_empty_map_says_what_to_do() -> None:
    BucketMap.objects.using("default").all().delete()
    with pytest.raises(MapIncomplete, match="run the command prepare"):
        ShardMap("default", settings.SHARDING["SHARDS"]).number(0)


def test_a_shard_that_is_not_configured_is_named() -> None:
    shard_map.reassign("default", [0], 0, 7)
    with pytest.raises(MapIncomplete, match=r"SHARDING\['SHARDS'\] lacks: \[7\]"):
        ShardMap("default", settings.SHARDING["SHARDS"]).number(0)


def test_a_service_without_shards_says_so(settings: LazySettings) -> None:
    settings.SHARDING = settings.SHARDING | {"SHARDS": {}}
    with pytest.raises(MapIncomplete, match="this service has no shards"):
        shard_map.current()


def test_the_textbook_name_finds_the_same_shard() -> None:
    assert [ShardRouter()._get_shard(bucket << 11) for bucket in range(4)] == ["shard0", "shard1", "shard2", "shard0"]
    assert len({shard_map.current().alias_of(bucket) for bucket in range(BUCKETS)}) == 3
