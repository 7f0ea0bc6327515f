"""A replica says on each answer that it is about to stop."""

from __future__ import annotations

from pathlib import Path

from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from scaleout.gateway.client import draining


def test_an_answer_says_it_as_soon_as_the_replica_drains(settings: Settings, tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    settings.GATEWAY = settings.GATEWAY | {"DRAIN_MARKER": str(marker)}
    service = draining.DrainingMiddleware(lambda _request: HttpResponse())
    assert "X-Draining" not in service(RequestFactory().get("/"))
    marker.touch()
    assert "X-Draining" in service(RequestFactory().get("/"))
