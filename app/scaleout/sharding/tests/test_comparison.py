"""The ORM over shards gives the answers that it gives over one plain database, or refuses:
operations at random.

An ordinary run is short and always the same. `COMPARE_SECONDS=600` runs it for that time, with
other seeds each time, and prints them; `COMPARE_SEED=7` repeats one.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pytest_django import Settings
from waiting import TIME_FACTOR

from scaleout.sharding import base, scatter, shard_map, transactions
from scaleout.sharding.conf import conf
from scaleout.sharding.errors import BucketMoved
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.moving import locks, session, steps
from scaleout.sharding.tests.comparison import reads, twins, writes
from scaleout.sharding.tests.comparison.blocks import BLOCK, STEP, Block, Run, StoppedError, named
from scaleout.sharding.tests.comparison.moves import BUCKETS, Moves, reset
from scaleout.sharding.tests.comparison.operation import WHO, Operation
from scaleout.sharding.tests.comparison.side import Plain, Shards

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", twins.PLAIN, *ALIASES])
SECONDS = float(os.environ.get("COMPARE_SECONDS") or 0)
SEED = os.environ.get("COMPARE_SEED") or None
assert reads  # it registers its operations, as `writes` does
BREAK = st.tuples(st.integers(1, 14), st.sampled_from(["", "frozen", "frozen", "default", "source", "target"]))


@pytest.fixture(scope="module", autouse=True)
def plain(django_db_setup: None) -> Iterator[None]:
    """The alias of the plain database; before the fixtures of a test, which look at its list of
    databases.
    """
    twins.add_plain()
    yield
    twins.remove_plain()


@pytest.fixture
def side_by_side(shards: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both sets of tables, and a mover that waits less than it must in earnest."""
    settings.DATABASE_ROUTERS = [
        "scaleout.sharding.tests.comparison.twins.PlainRouter",
        "scaleout.sharding.router.ShardRouter",
        *settings.DATABASE_ROUTERS,
    ]
    monkeypatch.setattr(shard_map, "LEASE", 0.1)
    monkeypatch.setattr(steps, "WAIT", 0.12)
    monkeypatch.setattr(steps, "REST", 0.02)
    monkeypatch.setattr(locks, "REST", 0.02)
    monkeypatch.setattr(steps, "BUDGET", steps.BUDGET * TIME_FACTOR)
    monkeypatch.setattr(session, "PATIENCE", f"{2 * TIME_FACTOR}s")
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    monkeypatch.setattr(scatter, "DEADLINE", 60.0)
    monkeypatch.setattr(base, "random", SimpleNamespace(randrange=Machine.next_bucket))
    twins.make_shard_tables()
    twins.make_plain_tables()
    yield
    twins.drop_plain_tables()
    twins.drop_shard_tables()


class Machine(RuleBasedStateMachine):
    """Does everything on both sides, the shards first, and compares."""

    examples: ClassVar[int] = 0
    answers: ClassVar[Counter[str]] = Counter()
    bucket: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.shards, self.plain, self.moves = Shards(), Plain(), Moves()

    @classmethod
    def next_bucket(cls, _end: int) -> int:
        """Put new authors into a few buckets, one after the other."""
        cls.bucket = (cls.bucket + 1) % BUCKETS
        return cls.bucket

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        """Begin with some rows."""
        reset()
        Machine.bucket = 0
        Machine.examples += 1
        for number in range(count):
            for side in (self.shards, self.plain):
                author = side.models["Author"].objects.create(rank=side.new_rank(), name="ab"[number % 2], score=number)
                side.hold("Author", author)
                for title in "ab":
                    book = side.models["Book"].objects.create(rank=side.new_rank(), author=author, title=title, pages=2)
                    side.hold("Book", book, author)
                    leaf = side.models["Leaf"].objects.create(rank=side.new_rank(), book=book, number=1)
                    side.hold("Leaf", leaf, book)
        self.compare()

    # ── what is done ──────────────────────────────────────────────────────────────────────────────
    @rule(operations=st.lists(STEP, min_size=1, max_size=8))
    def act(self, operations: list[Operation]) -> None:
        """Do some operations, each in a transaction of its own."""
        for operation in operations:
            self.both(operation)

    @rule(who=WHO, block=BLOCK, how=st.sampled_from(["shard_atomic", "atomic"]), narrow=st.integers(0, 4))
    def transact(self, who: int, block: Block, how: str, narrow: int) -> None:
        """Do a transaction."""
        self.transaction(who, block, how, narrow > 0)

    @rule(
        who=WHO,
        block=BLOCK,
        how=st.sampled_from(["shard_atomic", "atomic"]),
        first=st.sampled_from(["raise", "set_rollback"]),
    )
    def retry(self, who: int, block: Block, how: str, first: str) -> None:
        """Do a transaction that is rolled back, and once more with the same objects."""
        self.transaction(who, Block(block.steps, first), how, narrow=True)
        self.transaction(who, Block(block.steps, "commit"), how, narrow=True)

    @rule(who=WHO, to=st.integers(0, 2), at=BREAK, during=st.lists(STEP, max_size=3))
    def move(self, who: int, to: int, at: tuple[int, str], during: list[Operation]) -> None:
        """Move the bucket of an author; break the move off, and do something before that."""
        authors = self.shards.some("Author")
        bucket = authors[who % len(authors)].bucket if authors else None
        if bucket is not None:
            self.disturb(bucket, to, at, during)
            self.moves.start(bucket, to)
            self.compare()

    @rule(at=BREAK, during=st.lists(STEP, max_size=2))
    def resume(self, at: tuple[int, str], during: list[Operation]) -> None:
        """Resume the move; perhaps it is broken off again."""
        self.disturb(0, 1, at, during)
        self.moves.resume()
        self.compare()

    @rule(at=BREAK)
    def abort(self, at: tuple[int, str]) -> None:
        """Abort the move."""
        self.disturb(0, 1, at, [])
        self.moves.abort()
        self.compare()

    @rule(at=BREAK)
    def clean(self, at: tuple[int, str]) -> None:
        """Clean up after all moves."""
        self.disturb(0, 1, at, [])
        self.moves.clean()
        self.compare()

    def disturb(self, bucket: int, target: int, at: tuple[int, str], during: list[Operation]) -> None:
        """Say what will happen to the next mover."""
        number, how = at
        ends = {
            "source": conf().shards[shard_map.current().number(bucket)],
            "target": conf().shards[target],
        }
        self.moves.at = number, ends.get(how, how)

        def act() -> None:
            for operation in during:
                self.both(operation)

        self.moves.then = act

    @rule(whom=st.lists(st.sampled_from(["a", "b"]), max_size=5))
    def insert_across(self, whom: list[str]) -> None:
        """Insert rows on several shards at once, while all buckets take writes."""
        if not self.moves.unfinished:
            self.both(Operation(writes.bulk_create_across, {"whom": whom}, ()))

    # ── questions to all shards ───────────────────────────────────────────────────────────────────
    @rule(kind=st.sampled_from(["Author", "Book", "Leaf"]), limit=st.integers(1, 4), rank=st.integers(0, 9))
    def ask_all(self, kind: str, limit: int, rank: int) -> None:
        """Go through all pages; what no shard shows may be missing if they say so."""
        found, partial, after = [], False, 0
        while True:
            page = self.shards.models[kind].objects.filter(rank__gte=rank).scatter(limit, after)
            found += page.items
            partial = partial or page.partial
            if page.next is None:
                break
            after = page.next
        assert [row.pk for row in found] == sorted({row.pk for row in found})
        count, in_part = self.shards.models[kind].objects.filter(rank__gte=rank).scatter_count()
        hidden = self.moves.shown_nowhere
        ranks = {
            row.rank
            for row in self.plain.models[kind].objects.filter(rank__gte=rank)
            if not hidden or bucket_of(self.ids(kind)[row.rank]) not in hidden
        }
        assert {row.rank for row in found} == ranks
        assert count == len(found)
        assert partial == in_part == bool(hidden)

    @rule(kind=st.sampled_from(["Author", "Book"]), name=st.sampled_from(["a", "b"]))
    def ask_each(self, kind: str, name: str) -> None:
        """Ask one shard after the other."""
        condition = {"name" if kind == "Author" else "title": name}
        found = [
            row.rank
            for alias in conf().shards.values()
            for row in self.shards.models[kind].objects.using(alias).filter(**condition)
        ]
        hidden = self.moves.shown_nowhere
        wanted = [
            row.rank
            for row in self.plain.models[kind].objects.filter(**condition)
            if not hidden or bucket_of(self.ids(kind)[row.rank]) not in hidden
        ]
        assert sorted(found) == sorted(wanted)

    def ids(self, kind: str) -> dict[int, int]:
        """Return the ids of the rows on the shards, by rank."""
        found = [row for alias in ALIASES for one, row in self.shards._rows_at(alias) if one == kind]
        return {row["rank"]: row["id"] for row in found}

    # ── both sides ────────────────────────────────────────────────────────────────────────────────
    def both(self, operation: Operation) -> None:
        """Do it on the shards; if they do not refuse it, on the plain database as well."""
        run = Run(self.shards)
        shards = answer(lambda: run._operation(operation))
        if run.refusal is not None and self.allowed(run):
            Machine.answers[f"refused by {type(run.refusal).__name__}"] += 1
        else:
            twin = Run(self.plain)
            plain = answer(lambda: twin._operation(operation))
            assert_same(operation, (shards, run.answers), (plain, twin.answers))
            Machine.answers[shards or ("nothing there" if "nothing there" in run.answers else "the same")] += 1
        self.compare(operation)

    def transaction(self, who: int, block: Block, how: str, narrow: bool) -> None:
        """Do the transaction on both sides; where the shards refuse an operation, the twin is
        broken off there.
        """
        if not self.shards.held["Author"]:
            return
        run = Run(self.shards)
        shards = answer(lambda: in_transaction(run, who, block, how, narrow))
        if run.refusal is not None and run.refused is None:  # shard_atomic() was, before the first operation
            assert self.allowed(run), f"the transaction was refused: {run.refusal!r}"
            Machine.answers[f"transactions refused by {type(run.refusal).__name__}"] += 1
            self.compare(block)
            return
        twin = Run(self.plain, stop=run.done if run.refusal is not None else None)
        plain = answer(lambda: in_transaction(twin, who, block, how, narrow))
        if run.refusal is not None:
            assert self.allowed(run), f"{run.refused} was refused: {run.refusal!r}"
            Machine.answers[f"transactions refused by {type(run.refusal).__name__}"] += 1
            assert plain == StoppedError.__name__
        else:
            assert_same(block, (shards,), (plain,))
            Machine.answers[f"transactions: {shards or 'the same'}"] += 1
        assert_same(block, (run.answers,), (twin.answers,))
        self.compare(block)

    def allowed(self, run: Run) -> bool:
        """Return whether the operation is one that the shards may refuse so."""
        if isinstance(run.refusal, BucketMoved):
            return self.moves.unfinished
        return run.refused is not None and isinstance(run.refusal, run.refused.refused)

    def compare(self, what: object = "") -> None:
        """Compare all rows, and what the objects have in memory."""
        for side in (self.shards, self.plain):
            side.forget_lost_connections()
            side.rank = max(self.shards.rank, self.plain.rank)
        for here, there in zip(self.shards.states(), self.plain.states(), strict=True):
            assert_same(what, here, there)
        rows, twins_ = self.shards.rows(), self.plain.rows()
        assert rows == twins_, (
            f"{what}: only on the shards: {rows - twins_}; only in the plain database: {twins_ - rows}"
        )

    def teardown(self) -> None:
        """End the move; nothing of it is left, and all is as in the plain database."""
        if isinstance(error := sys.exception(), Exception):
            traceback.print_exception(error)  # Hypothesis runs it again, and shows only what happens then
            self.shards.forget_lost_connections()
        elif error is None and self.shards.held["Author"]:
            self.moves.end()
            self.compare()
            for alias in ALIASES:
                for _, row in self.shards._rows_at(alias):
                    assert shard_map.current().alias_for(row["id"]) == alias


def in_transaction(run: Run, who: int, block: Block, how: str, narrow: bool) -> None:
    """Run a block for what belongs to an author, or for anything."""
    author = run.side.pick("Author", who)
    run.side.scope = author.rank if narrow else None
    try:
        alias = run.side.alias_of(author)
        with run.side.atomic(author, how):
            run.block(block, alias)
    except BucketMoved as error:
        run.refusal = run.refusal or error
        raise
    finally:
        run.side.scope = None


errors: deque[str] = deque(maxlen=2)  # the last ones, with their tracebacks


def answer(act: Any) -> str:
    """Return the name of the error that `act` ends with, or nothing."""
    try:
        act()
    except AssertionError:
        raise
    except Exception as error:
        errors.append("".join(traceback.format_exception(error)))
        # The shards' own errors are also what Django raises in that case.
        return "ValueError" if isinstance(error, ValueError) else named(error)
    return ""


def assert_same(what: object, shards: tuple[Any, ...], plain: tuple[Any, ...]) -> None:
    """Compare what the two sides did."""
    last = "\n".join(errors)
    assert shards == plain, f"\n{what}\n  shards: {shards}\n  plain:  {plain}\n  the last errors:\n{last}"


COMMON = profile(
    deadline=None,
    database=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, *([Phase.shrink] if SEED else [])],  # to shrink an example takes minutes
)


@pytest.mark.usefixtures("side_by_side")
def test_shards_answer_as_one_plain_database_does() -> None:
    if not SECONDS and SEED is None:
        run_state_machine_as_test(
            Machine, settings=profile(COMMON, max_examples=6, stateful_step_count=10, derandomize=True)
        )
        return
    until = time.monotonic() + SECONDS
    while True:
        number = random.SystemRandom().randrange(10**9) if SEED is None else int(SEED)
        print(f"\nCOMPARE_SEED={number}", flush=True)
        run_state_machine_as_test(
            seed(number)(Machine), settings=profile(COMMON, max_examples=10, stateful_step_count=30)
        )
        print(f"{Machine.examples} examples: {dict(Machine.answers.most_common())}", flush=True)
        if SEED is not None or time.monotonic() > until:
            break
