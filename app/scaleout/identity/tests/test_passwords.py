"""Passwords are kept as argon2id, in the memory that a small replica has."""

from __future__ import annotations

import resource

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password
from pytest_django import Settings

from scaleout.identity.passwords import Argon2

REPLICA = 512 * 1024  # KiB that a container has
THREADS = 4  # that hash at once


@pytest.fixture(autouse=True)
def _argon2(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["scaleout.identity.passwords.Argon2"]


def test_a_hash_says_argon2id_and_its_cost_and_never_comes_twice() -> None:
    first, second = make_password("secret"), make_password("secret")
    assert first.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert len(first) <= 128  # the column
    assert check_password("secret", first)
    assert not check_password("Secret", first)


def test_hashing_in_all_threads_takes_a_small_part_of_a_replicas_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make_password("secret")
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken < 2 * Argon2.memory_cost
    assert Argon2.memory_cost * Argon2.parallelism * THREADS < REPLICA / 4


def test_odd_passwords_are_passwords() -> None:
    for password in ("ü" * 100, "\N{NO-BREAK SPACE}", "a" * 200, "'; --"):
        assert check_password(password, make_password(password))


def test_a_hash_of_other_costs_is_known_to_be_old(settings: Settings) -> None:
    old = make_password("secret", hasher=_cheap())
    assert check_password("secret", old)
    assert identify_hasher(old).must_update(old)


def _cheap() -> Argon2:
    cheap = Argon2()
    cheap.memory_cost, cheap.time_cost = 1024, 1
    return cheap
