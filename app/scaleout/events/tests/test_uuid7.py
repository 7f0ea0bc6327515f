"""Ids of events."""

from __future__ import annotations

import secrets
import time
import uuid

import pytest

from scaleout.events.uuid7 import uuid7


def test_the_example_of_the_rfc_is_made_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # RFC 9562, appendix A.6.
    monkeypatch.setattr(time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000 + 999_999)
    monkeypatch.setattr(secrets, "randbits", {12: 0xCC3, 62: 0x18C4DC0C0C07398F}.__getitem__)
    assert uuid7() == uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


def test_an_id_is_of_version_7_and_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_of_one_moment_differ() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000
