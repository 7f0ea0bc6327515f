"""The command: what it plans, what it says, and what it refuses in one line."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.conf import LazySettings, settings
from django.core.management import call_command
from django.core.management.base import CommandError

from scaleout.sharding import shard_map
from scaleout.sharding.models import Bucket
from scaleout.sharding.moving import plan
from scaleout.sharding.moving.plan import Wanted, even, grouped, parse

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]


def reshard(*arguments: str) -> str:
    out = StringIO()
    call_command("reshard", *arguments, stdout=out)
    return out.getvalue()


def test_an_added_shard_gets_its_share_and_each_bucket_goes_once() -> None:
    held = {bucket: bucket % 3 for bucket in range(1024)}
    moves = even(range(4), held, dict.fromkeys(held, 1))
    assert {one.target for one in moves} == {3}
    taken = [bucket for one in moves for bucket in one.buckets]
    assert len(taken) == len(set(taken)) == 256


def test_a_plan_by_rows_evens_out_the_rows() -> None:
    held = {0: 0, 1: 0, 2: 0, 3: 1}
    assert even([0, 1], held, {0: 100, 1: 60, 2: 10, 3: 0}) == [Wanted(0, 1, [1, 2])]
    assert even([0, 1], held, {0: 100, 1: 0, 2: 0, 3: 0}) == []


def test_a_shard_that_is_to_go_gives_all_it_has_even_empty_buckets() -> None:
    held = {bucket: bucket % 4 for bucket in range(1024)}
    moves = even(range(4), held, dict.fromkeys(held, 1), without=3)
    assert {one.source for one in moves} == {3}
    assert sorted(len(one.buckets) for one in moves) == [85, 85, 86]
    weights = dict.fromkeys(held, 0) | {3: 10, 7: 10}
    moves = even(range(4), held, weights, without=3)
    assert sum(len(one.buckets) for one in moves) == 256
    assert not [one for one in moves if {3, 7} <= set(one.buckets)]


def test_buckets_of_several_shards_are_a_move_for_each() -> None:
    assert grouped({0: 0, 1: 1, 2: 2, 3: 0}, [0, 1, 2, 3], 2) == [Wanted(0, 2, [0, 3]), Wanted(1, 2, [1])]


def test_buckets_are_written_as_numbers_and_ranges() -> None:
    assert parse("5,0-2, 7") == [0, 1, 2, 5, 7]
    for bad in ("", "a", "1024", "5-2", "-1", "1-2-3"):
        with pytest.raises(ValueError, match="|".join(["invalid literal", *map(re.escape, ("1024", "5-2"))])):
            parse(bad)


def test_a_move_by_the_command_and_its_way_back() -> None:
    said = reshard("move", "--buckets", "0-4", "--to", "2", "--at-once", "1")
    assert said.count("done. Writes to these buckets waited") == 4  # 0 and 3 from shard 0, 1 and 4 from shard 1
    shard_map.current().expire()
    assert {shard_map.current().number(bucket) for bucket in range(5)} == {2}
    assert reshard("status").count("active") == 4
    with pytest.raises(CommandError, match="too late to abort"):
        reshard("abort")
    assert reshard("clean").count("no longer has a copy") == 4
    assert "nothing to move" in reshard("move", "--buckets", "0-4", "--to", "2")
    assert "nothing to resume" in reshard("resume")
    assert "nothing to clean" in reshard("clean")


def test_a_new_shard_is_filled_by_the_plan(settings: LazySettings) -> None:
    Bucket.objects.using("shard2").all().delete()
    for bucket, number in ((bucket, bucket % 2) for bucket in shard_map.current().buckets_of(2)):
        shard_map.reassign("default", [bucket], 2, number)
        Bucket.objects.using(settings.SHARDING["SHARDS"][number]).create(bucket=bucket)
    assert "shard 2: 0 buckets" in reshard("plan", "--by", "buckets")
    reshard("move", "--plan", "--by", "buckets", "--at-once", "1024")
    shard_map.current().expire()
    assert sorted(len(shard_map.current().buckets_of(number)) for number in range(3)) == [341, 341, 342]
    assert "nothing to move" in reshard("plan", "--by", "buckets")


def test_a_shard_is_emptied_by_the_plan() -> None:
    assert "to 0" in reshard("plan", "--without", "2")
    reshard("move", "--plan", "--without", "2", "--at-once", "1024")
    reshard("clean")
    shard_map.current().expire()
    assert shard_map.current().buckets_of(2) == []
    assert not Bucket.objects.using("shard2").exists()


BAD = {
    ("move",): "say which --buckets",
    ("move", "--buckets", "0-2000", "--to", "1"): "must be numbers from 0 to 1023",
    ("move", "--buckets", "x", "--to", "1"): "must be numbers",
    ("move", "--buckets", "0", "--to", "9"): "there is no shard 9: there are 0-2",
    ("move", "--buckets", "0", "--to", "1", "--plan"): "either --plan, or",
    ("move", "--plan", "--at-once", "0"): "--at-once must be 1 or more",
    ("move", "--plan", "--without", "9"): "--without 9: there are only the shards 0-2",
    ("move", "--buckets", "0", "--to", "1", "--without", "2"): "--without is for --plan",
    ("plan", "--context", "unknown"): "there is no context unknown: there are default",
    ("status", "--to", "1"): "are for move, not for status",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_clear_line(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=BAD[arguments]) as raised:
        reshard(*arguments)
    assert "\n" not in str(raised.value)


def test_the_plan_counts_no_row_twice() -> None:
    held = plan.holders("default")
    assert sum(plan.rows_of(settings.SHARDING["SHARDS"], held, ["author"]).values()) == 0
