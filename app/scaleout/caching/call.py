"""A cached function and one call of it: what the stages of a fetch hand on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scaleout.caching.keys import Keys
from scaleout.caching.metrics import Tally

type Tags = Iterable[str] | Callable[..., Iterable[str]]


@dataclass(eq=False)
class Recipe:
    """How the values of a function are computed, what they are called and how long they are good.

    `timeout` and `stale` are seconds. `method`: the first argument is an object or a class.
    """

    function: Callable[..., Any]
    chosen: str | Callable[..., str] | None  # the key that the decorator was given
    tags: Tags
    timeout: float
    stale: float
    method: bool = False

    def __post_init__(self) -> None:
        self.keys = Keys(self.function, self.chosen, method=self.method)
        self.name = self.keys.name
        self.l1, self.l2, self.missed = (Tally(self.name, level) for level in ("L1", "L2", "miss"))

    def use_for_method(self) -> None:
        """Make the object part of the key only if it says so."""
        self.keys = Keys(self.function, self.chosen, method=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, whose value is wanted."""

    recipe: Recipe
    key: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def own_tag(self) -> str:
        """The tag of this value alone."""
        return f"={self.key}"

    def value(self) -> Any:
        """Compute the value."""
        return self.recipe.function(*self.args, **self.kwargs)

    def tags(self) -> Iterable[str]:
        """Return the tags that the decorator was given for these arguments."""
        given = self.recipe.tags
        if not callable(given):
            return given
        args, kwargs = self.recipe.keys.normal(self.args, self.kwargs)
        return given(*args, **kwargs)
