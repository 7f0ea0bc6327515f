"""Several processes, one Redis: what one changes, no other shows old; whatever happens to Redis or
to one of them.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
from waiting import TIME_FACTOR, eventually

from scaleout.caching.lease import PATIENCE
from scaleout.caching.ledger import CAP
from scaleout.caching.tests.conftest import Cluster, Worker
from scaleout.caching.watch import ANSWER, BEAT
from scaleout.caching.wire import GRACE, TIMEOUT

# Seconds until a process notices that Redis is down, or up again.
NOTICED = 2 * (BEAT + ANSWER) + 1.0
MOMENT = 1.0  # seconds after an invalidation in which another process may show what was before


def until_new(worker: Worker, text: str, within: float) -> float:
    return eventually(lambda: worker.value() == text, within, f"{text!r} to be shown")


def is_closed(worker: Worker) -> bool:
    return worker.do("breaker") is False


def test_what_one_process_changes_no_other_shows_old(cluster: Cluster) -> None:
    workers = cluster.spawn(3)
    for trial in range(30):
        text = f"price {trial}"
        workers[trial % 3].do("change", text)
        assert workers[trial % 3].value() == text, "its own change"
        for worker in workers:
            until_new(worker, text, MOMENT)
            assert worker.value() == text


def test_a_value_that_one_process_has_computed_is_found_by_the_others(cluster: Cluster) -> None:
    one, two = cluster.spawn(2)
    assert one.value() == two.value() == "old"
    assert cluster.computed == 1
    assert one.do("peek") == two.do("peek") == "L1"


def test_two_releases_share_no_value_and_every_invalidation(cluster: Cluster) -> None:
    stable, canary = cluster.spawn(2, RELEASE="1"), cluster.spawn(2, RELEASE="2")
    assert stable[0].value() == "old"
    cluster.put("of the canary")
    assert {worker.value() for worker in canary} == {"of the canary"}
    assert stable[1].value() == "old"
    assert cluster.computed == 2, "one for each release"
    for trial, author in enumerate((stable[0], canary[0])):
        author.do("change", f"new {trial}")
        for worker in stable + canary:
            until_new(worker, f"new {trial}", MOMENT)


def test_a_reader_that_began_before_the_change_leaves_nothing_old_behind(cluster: Cluster) -> None:
    reader, writer, third = cluster.spawn(3, SECONDS_TO_COMPUTE="0.8")
    reader.send("call")
    eventually(lambda: cluster.computed == 1, 5, "the reader to have read")
    writer.do("change", "new")
    waited = third.do("call")
    assert reader.answer()["value"] == "old", "it had asked before the change"
    assert waited["value"] == "new", "it asked after the change"
    assert {one.value() for one in (reader, writer, third)} == {"new"}


def test_without_messages_a_value_is_old_for_no_longer_than_the_cap(cluster: Cluster) -> None:
    reader, writer = cluster.spawn(2)
    read = time.monotonic()
    assert reader.value() == "old"
    with cluster.client as client:
        # As `invalidate` does it, but without a message.
        epoch = str(client.get(":1:{caching}:clock"), "ascii").partition(":")[0]
        cluster.put("new")
        client.mset({":1:{caching}:clock": f"{epoch}:1000:1000", ":1:{caching}:tag:thing": f"{epoch}:1000"})
    assert reader.value() == "old" or time.monotonic() - read > CAP, "it has heard of nothing"
    until_new(reader, "new", CAP + 0.5)
    assert writer.value() == "new"


def test_a_listener_that_was_cut_off_reads_again_as_soon_as_it_listens(cluster: Cluster) -> None:
    reader, writer = cluster.spawn(2, CAP="60")
    for trial in range(2):
        before = reader.value()
        with cluster.client as client:
            client.client_kill_filter(_type="pubsub")
        writer.do("change", f"new {trial}")
        assert before != f"new {trial}"
        until_new(reader, f"new {trial}", BEAT + 1.0)
        for worker in (reader, writer):
            eventually(partial(is_closed, worker), 5, "Redis to be used again")


@pytest.mark.parametrize("state", ["cold", "expired"])
def test_500_callers_of_three_processes_cost_one_computation_and_all_get_its_value(
    cluster: Cluster, state: str
) -> None:
    seconds = 1 + TIME_FACTOR if state == "expired" else 60  # all of them come within it
    workers = cluster.spawn(3, patience=TIME_FACTOR, SECONDS_TO_COMPUTE="0.5", TIMEOUT=str(seconds))
    if state == "expired":
        assert workers[0].value() == "old"
        time.sleep(seconds + 0.2)  # the time-out is what is tested
    before = cluster.computed
    for worker in workers:
        worker.send("many", 167)
    answers = [one for worker in workers for one in worker.answer()]
    assert len(answers) == 501
    assert {(one["value"], one["error"]) for one in answers} == {("old", "")}
    assert cluster.computed - before == 1


def test_an_exception_is_not_cached_and_releases_the_lock(cluster: Cluster) -> None:
    cluster.put("broken")
    one, two = cluster.spawn(2, SECONDS_TO_COMPUTE="0.2")
    assert one.do("call")["error"] == "broken"
    cluster.put("whole")
    with cluster.client as client:
        assert not list(client.scan_iter("*computing:*")), "no process holds the lock"
    answer = two.do("call")
    assert (answer["value"], answer["error"]) == ("whole", "")


def test_a_process_that_is_killed_while_it_computes_holds_up_the_others_for_a_moment_only(cluster: Cluster) -> None:
    (dying,) = cluster.spawn(SECONDS_TO_COMPUTE="60")
    (other,) = cluster.spawn()
    dying.send("call")
    eventually(lambda: cluster.computed == 1, 5, "it to compute")
    dying.kill()
    cluster.workers.remove(dying)
    answer = other.do("call")
    assert answer["value"] == "old"
    assert answer["seconds"] < (PATIENCE + 0.5) * TIME_FACTOR


def test_a_change_whose_author_is_killed_before_it_can_say_so_shows_soon_all_the_same(cluster: Cluster) -> None:
    reader, writer = cluster.spawn(2)
    assert reader.value() == "old"
    writer.do("forewarn")
    writer.send("change_and_die", "new")
    writer.wait()
    until_new(reader, "new", 1.0 + CAP + 0.5)


def test_the_same_holds_for_a_value_that_is_read_for_the_first_time_before_the_commit(cluster: Cluster) -> None:
    reader, writer = cluster.spawn(2)
    writer.do("forewarn")
    assert reader.value() == "old"
    writer.send("change_and_die", "new")
    writer.wait()
    until_new(reader, "new", 1.0 + CAP + 0.5)


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_without_redis_calls_are_answered_without_waiting_for_it_and_it_is_used_again(
    cluster: Cluster, how: str
) -> None:
    one, two = cluster.spawn(2, patience=TIME_FACTOR)
    assert one.value() == two.value() == "old"
    getattr(cluster, how)()
    seconds: list[float] = []

    def call() -> None:
        answer = one.do("call")
        assert (answer["value"], answer["error"]) == ("old", "")
        seconds.append(answer["seconds"])

    def opened() -> bool:
        call()
        return bool(one.do("breaker"))

    eventually(opened, NOTICED, "the breaker to open")
    seconds.clear()
    for _ in range(100):
        call()
    # Without the breaker each call waits for Redis until the time-out.
    waited = sum(each >= TIMEOUT * TIME_FACTOR for each in seconds)
    assert waited < len(seconds) / 2, f"{waited} of {len(seconds)} calls waited for Redis"

    one.do("change", "new")  # while Redis is away
    assert one.value() == "new"
    until_new(two, "new", CAP + 0.5)
    if how == "freeze":
        cluster.thaw()
    else:
        cluster.start()

    def used_again() -> bool:
        # Redis recovers with its old data, which no process may use.
        assert two.value() == "new"
        return is_closed(two)

    eventually(used_again, GRACE + NOTICED, "Redis to be used again")
    for _ in range(100):
        assert two.value() == "new"
    (third,) = cluster.spawn()
    assert third.value() == "new"
    for worker in (one, two):
        eventually(partial(is_closed, worker), 5, "Redis to be used again")
        assert worker.value() == "new"
    before = cluster.computed
    assert {one.value(), two.value(), third.value()} == {"new"}
    assert cluster.computed - before <= 1, "they share values again"


def test_a_forked_child_has_its_own_connections_and_thread_and_nothing_of_its_parents(cluster: Cluster) -> None:
    (worker,) = cluster.spawn()
    assert worker.do("fork") == "old True True"
    assert worker.value() == "old"
