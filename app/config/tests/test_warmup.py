"""A new worker warms up, whatever the state of the databases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from django.conf import LazySettings

from config import warmup
from config.wsgi import application


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("hosts", [["*"], [".shop.example"], ["shop.example", "other.example"]])
def test_the_busiest_pages_are_asked_for_once(
    hosts: list[str], settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ALLOWED_HOSTS = hosts
    with caplog.at_level(logging.INFO, "access"):
        warmup.warm_up(application)
    # structlog keeps the fields beside the text until the line is written.
    assert [cast(dict[str, Any], record.msg)["event"] for record in caplog.records] == ["GET / 200"]


def test_a_page_that_fails_does_not_keep_the_worker_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("503 Service Unavailable", [])
        return [b"away"]

    warmup.warm_up(broken)
    assert "503 Service Unavailable" in caplog.text
