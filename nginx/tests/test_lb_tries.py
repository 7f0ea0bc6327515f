"""The retry budget of slow requests."""

from watcher.tries import Budget

AGAIN = "<190>nginx outcome: 200 504, 200"
REFUSED = "<190>nginx outcome: 503 -"
BY_THE_REPLICA = "<190>nginx outcome: 503 503"
REDIALLED = "<190>nginx outcome: 200 502, 200"


def record(budget: Budget, line: str, times: int, now: float) -> None:
    for _ in range(times):
        budget.record(line, now)


def test_a_quiet_site_may_try_twenty_times_in_ten_seconds() -> None:
    budget = Budget()
    record(budget, AGAIN, 20, 100.0)
    assert budget.allows(100.0)
    record(budget, AGAIN, 1, 101.0)
    assert not budget.allows(101.0)
    assert budget.allows(110.5)  # the first twenty are forgotten


def test_a_busy_site_may_try_one_in_ten_of_its_requests_again() -> None:
    budget = Budget()
    budget.total(5_000, 100.0)
    budget.total(6_000, 105.0)
    record(budget, AGAIN, 120, 105.0)
    assert budget.allows(105.0)
    record(budget, AGAIN, 1, 105.0)
    assert not budget.allows(105.0)


def test_requests_of_the_time_before_count_no_more() -> None:
    budget = Budget()
    budget.total(0, 100.0)
    budget.total(100_000, 101.0)
    budget.total(100_000, 112.0)
    record(budget, AGAIN, 21, 112.0)
    assert not budget.allows(112.0)


def test_an_nginx_that_was_started_again_counts_from_zero() -> None:
    budget = Budget()
    budget.total(100_000, 100.0)
    budget.total(10, 101.0)
    record(budget, AGAIN, 21, 101.0)
    assert not budget.allows(101.0)


def test_a_site_that_sheds_tries_nothing_again() -> None:
    for line in (REFUSED, BY_THE_REPLICA):
        budget = Budget()
        record(budget, line, 5, 100.0)
        assert budget.allows(100.0)
        record(budget, line, 1, 100.1)
        assert not budget.allows(100.2)
        assert budget.allows(102.1)


def test_a_try_that_never_reached_a_replica_costs_nothing() -> None:
    budget = Budget()
    record(budget, REDIALLED, 1000, 100.0)
    assert budget.allows(100.0)
