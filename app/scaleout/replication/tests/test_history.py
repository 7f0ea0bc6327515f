"""Since when a position is missed, exactly and for ever, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaleout.replication.history import FINENESS, History

STEPS = st.lists(st.tuples(st.floats(0.01, 3600), st.integers(1, 1000)), min_size=1, max_size=300)


@given(STEPS, st.integers(0, 300_000))
def test_an_age_is_never_too_low_and_hardly_too_high(steps: list[tuple[float, int]], asked: int) -> None:
    history, now, position, exact = History(), 0.0, 0, []
    for seconds, size in steps:
        now += seconds
        position += size
        exact.append((now, position))
        history.note(now, now, position)
    right = next((at for at, reached in exact if reached > asked), None)
    seen = history.missed_since(asked)
    assert (seen is None) is (right is None)
    if seen is not None and right is not None:
        assert 0 <= right - seen <= (now - seen) / FINENESS + 1e-6


def test_a_year_of_writes_takes_little_memory_and_loses_no_age() -> None:
    history, now = History(), 0.0
    for position in range(1, 4000):
        now += 0.5 if position < 2000 else 15_000  # a busy quarter of an hour, then a year
        history.note(now, now, position)
    assert len(history) < 1100
    assert now - (history.missed_since(0) or 0.0) == now - 0.5


def test_what_was_lost_is_missed_no_more_and_what_is_left_is_missed_as_long() -> None:
    history = History()
    for at in range(1, 6):
        history.note(at, 10, at * 100)
    history.cut(250)
    assert history.missed_since(200) == 3
    assert history.missed_since(250) is None
    history.note(9, 10, 260)
    assert history.missed_since(250) == 9
