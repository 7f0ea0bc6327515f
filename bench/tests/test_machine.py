"""What is read about the machine."""

import pytest
from harness import machine
from harness.errors import BenchError


def test_the_memory_that_counts_is_the_available_one() -> None:
    text = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
    assert machine.available_memory(text) == 8_000_000 * 1024


def test_a_kernel_that_does_not_say_is_refused() -> None:
    with pytest.raises(BenchError, match="MemAvailable"):
        machine.available_memory("MemTotal: 1 kB\n")


def test_the_processor_is_named() -> None:
    assert machine.processor("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n") == "Some CPU @ 3 GHz"
    assert machine.processor("") != ""
