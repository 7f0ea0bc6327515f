"""An operation: a function of a side, with arguments that mean the same on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from scaleout.sharding.tests.comparison.side import Side

type Act = Callable[..., Any]
type Refusals = tuple[type[Exception], ...]


@dataclass(frozen=True)
class Operation:
    """One, with its arguments. `refused`: the errors with which the shards may refuse it."""

    act: Act
    arguments: dict[str, Any]
    refused: Refusals

    def __call__(self, side: Side) -> Any:
        """Run it; return what it answers, without ids."""
        answer = self.act(side, **self.arguments)
        side.learn()
        return side.plain(answer)

    def __repr__(self) -> str:
        """Return it as a call."""
        return f"{self.act.__name__}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


OPERATIONS: list[st.SearchStrategy[Operation]] = []

WHO = st.integers(0, 7)
NAME = st.sampled_from(["a", "b", "c"])
NUMBER = st.one_of(st.none(), st.integers(0, 4))


def operation(*refused: type[Exception], times: int = 1, **arguments: st.SearchStrategy[Any]) -> Callable[[Act], Act]:
    """Register a function as an operation. `times`: how often it is chosen."""

    def register(act: Act) -> Act:
        drawn = st.fixed_dictionaries(arguments).map(lambda given: Operation(act, given, refused))
        OPERATIONS.extend([drawn] * times)
        return act

    return register
