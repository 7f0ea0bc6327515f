"""Transactions: operations in a block, which ends well or badly, and blocks in it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, transaction
from hypothesis import strategies as st

from scaleout.sharding.tests.comparison.operation import OPERATIONS, Operation
from scaleout.sharding.tests.comparison.side import LOST, REFUSALS, NothingThereError, Side

type Steps = list[Operation | Block | Kill]


class BrokenOffError(Exception):
    """The failure of a block."""


class KilledError(Exception):
    """The failure of a block whose connection was lost."""


class StoppedError(Exception):
    """The failure of a block in which the other side refused an operation."""


@dataclass(frozen=True)
class Kill:
    """The connection is lost before an operation."""

    last: Operation


@dataclass
class Block:
    """A transaction, or in another block a savepoint, whose errors of the database the outer one
    survives.
    """

    steps: Steps
    end: str  # commit, raise, set_rollback


@dataclass
class Run:
    """One run of a block on one side. `done` counts the operations that were not refused; `stop`
    says where to end.
    """

    side: Side
    stop: int | None = None
    done: int = 0
    answers: list[Any] = field(default_factory=list)
    refusal: Exception | None = None
    refused: Operation | None = None

    def block(self, block: Block, alias: str) -> None:
        """Do the steps."""
        for step in block.steps:
            self._step(step, alias)
        if block.end == "raise":
            raise BrokenOffError
        if block.end == "set_rollback":
            transaction.set_rollback(True, using=alias)

    def _step(self, step: Operation | Block | Kill, alias: str) -> None:
        if isinstance(step, Block):
            try:
                with transaction.atomic(using=alias):
                    self.block(step, alias)
            except (BrokenOffError, DatabaseError) as error:
                if isinstance(error, REFUSALS):
                    raise
                self.answers.append(named(error))
        elif isinstance(step, Kill):
            self.side.kill(alias)
            with suppress(Exception):  # which error it is depends on what is asked first
                step.last(self.side)
            raise KilledError
        else:
            self._operation(step)

    def _operation(self, step: Operation) -> None:
        if self.done == self.stop:
            raise StoppedError
        self.done += 1
        try:
            self.answers.append(step(self.side))
        except NothingThereError:
            self.answers.append("nothing there")
        except REFUSALS as error:
            self.done -= 1
            self.refusal, self.refused = error, step
            raise


def named(error: Exception) -> str:
    """Return what kind of error it is."""
    return "lost" if isinstance(error, LOST) else type(error).__name__


@st.composite
def _operation(draw: st.DrawFn) -> Operation:
    """Choose an operation, then its arguments."""
    return draw(draw(st.sampled_from(OPERATIONS)))


STEP = _operation()
END = st.sampled_from(["commit", "commit", "raise", "set_rollback"])
SAVEPOINT = st.builds(Block, st.lists(STEP, min_size=1, max_size=4), END)


@st.composite
def _step(draw: st.DrawFn) -> Operation | Block | Kill:
    """Choose an operation mostly."""
    kind = draw(st.integers(0, 19))
    if kind < 16:
        return draw(STEP)
    return draw(SAVEPOINT) if kind < 19 else Kill(draw(STEP))


BLOCK = st.builds(Block, st.lists(_step(), min_size=1, max_size=6), END)
