"""What counts as one expiry."""

from benches.stampede import per_expiry


def test_computations_that_begin_together_belong_to_one_expiry() -> None:
    assert per_expiry([10.0, 10.01, 10.09, 11.2, 11.21, 12.4]) == 2.0


def test_each_computation_after_a_whole_time_out_is_an_expiry_of_its_own() -> None:
    assert per_expiry([10.0, 11.0, 12.01, 13.1]) == 1.0


def test_a_second_computation_soon_after_the_first_is_one_too_many() -> None:
    assert per_expiry([10.0, 10.3, 11.0, 12.0]) == 4 / 3
