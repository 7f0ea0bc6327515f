"""A client reads its own writes: from a replica that has replayed them, or from the primary."""

from __future__ import annotations

from collections import Counter

import pytest
from support.client import Site, assert_problem
from support.load import at_once
from support.own import replay_stopped
from support.restore import primary
from support.settings import MAIN_NODES
from support.stack import Stack
from support.wait import eventually

CALLERS = 4
UNCACHED = "/search/?q=e"  # searches are not cached: each one reads a database


@pytest.mark.parametrize("carrier", ["cookie", "header"])
@pytest.mark.parametrize("pairs", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_reads_of_own_writes_are_never_stale_while_the_replay_of_a_replica_is_stopped(
    stack: Stack, site: Site, carrier: str, pairs: int
) -> None:
    leader = primary(stack)
    paused = next(node for node in MAIN_NODES if node != leader)

    def write_and_read(_caller: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        with site.session() as own:
            for _ in range(pairs // CALLERS):
                answer = own.post("/counter/")
                if answer.status_code == 504:
                    seen["late"] += 1
                    continue
                assert answer.status_code == 200, answer.text
                headers = {}
                if carrier == "header":
                    own.cookies.clear()
                    headers = {"X-Read-After": answer.headers["X-Read-After"]}
                read = own.get("/counter/", headers=headers)
                assert read.status_code == 200, read.text
                stale = read.json()["count"] < answer.json()["count"]
                seen["stale" if stale else read.headers["X-Database"]] += 1
        return seen

    with replay_stopped(stack, paused):
        seen = sum(at_once(CALLERS, CALLERS, write_and_read), Counter[str]())
        # The other replica is not asked either while it stands still for a moment.
        eventually(
            "no read without a position at the primary",
            lambda: Counter(site.get(UNCACHED).headers["X-Database"] for _ in range(30)),
            lambda others: "default" not in others,
            within=15,
        )
    assert seen.total() == pairs
    # A commit waits for disks, the load balancer for 2 s: a machine whose disk stands still for as
    # long answers late, and each caller once.
    assert seen.pop("late", 0) <= max(CALLERS, pairs // 100), seen
    assert not seen["stale"], seen
    assert any("replica" in databases for databases in seen), f"no read used the replica that had replayed: {seen}"


def test_a_write_returns_its_position_and_an_invalid_position_is_rejected(site: Site) -> None:
    answer = site.post("/counter/")
    assert answer.headers["X-Read-After"]
    assert "read_after" in answer.cookies
    assert "X-Read-After" not in site.get("/api/products/?limit=1").headers
    assert_problem(site.get("/counter/", headers={"X-Read-After": "yesterday"}), 400)


def test_an_invented_position_does_not_send_its_reader_to_the_primary(site: Site) -> None:
    answers = [site.get(UNCACHED, headers={"X-Read-After": "FFFFFFFF/FFFFFFFF"}) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert any(not answer.headers["X-Database"].endswith("default") for answer in answers)
    eventually(
        "a replica for a cookie that says nothing",
        lambda: site.get(UNCACHED, headers={"Cookie": "read_after=nonsense"}).headers["X-Database"],
        lambda seen: "default" not in seen,
        within=10,
    )


def test_an_answer_names_the_server_that_each_alias_led_to(site: Site, stack: Stack) -> None:
    written = site.post("/counter/")
    assert (written.headers["X-Database"], written.headers["X-Database-Server"]) == ("default", primary(stack))
    read = eventually(
        "an answer from a replica",
        lambda: site.get(UNCACHED),
        lambda seen: seen.headers["X-Database"].startswith("replica"),
        within=10,
    )
    assert read.headers["X-Database-Server"] in set(MAIN_NODES) - {primary(stack)}
