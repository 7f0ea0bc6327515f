"""A new worker warms up in any state of the databases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from django.conf import LazySettings
from scaleout.caching import warming
from scaleout.caching.tasks import warm_cache
from shop.products import answers
from shop.serving import warmup
from shop.storefront import pages

from config.celery import app as celery
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


def answers_nothing(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return []


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_what_is_asked_most_is_in_the_cache_before_anyone_asks() -> None:
    of_others = (answers.listing, answers.categories)  # which web may not write (redis/cache.users)
    assert pages.front.peek() is None
    warmup.warm_up(answers_nothing)
    assert pages.front.peek() is not None
    assert [one.peek() for one in of_others] == [None, None]


def test_beat_has_the_cache_warmed_before_anything_expires() -> None:
    entry = celery.conf.beat_schedule["warm-cache"]
    celery.loader.import_default_modules()
    assert celery.tasks[entry["task"]].run is warm_cache.run
    assert 0 < entry["options"]["expires"] <= entry["schedule"] < warming.MARGIN


def test_a_page_that_fails_does_not_keep_the_worker_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("503 Service Unavailable", [])
        return [b"away"]

    warmup.warm_up(broken)
    assert "503 Service Unavailable" in caplog.text
