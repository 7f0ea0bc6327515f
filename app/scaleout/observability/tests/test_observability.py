"""The headers of every answer, and exact counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import shared_task
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from prometheus_client import REGISTRY
from pytest_django import Settings

from scaleout.observability import metrics

pytestmark = pytest.mark.django_db(databases="__all__")

COUNT_IN_SLOT = """
import sys
from scaleout.observability import metrics
metrics.use_slot(sys.argv[1])
for _ in range(int(sys.argv[2])):
    metrics.Metrics.get_instance().requests_by_view_transport_method.labels("view", "http", "GET").inc()
"""
SUM = "from scaleout.observability import metrics; print(metrics.exposition().decode())"


@shared_task(name="scaleout.observability.tests.divide")
def divide(by: int) -> float:
    """Return the inverse."""
    return 1 / by


def raises(_request: HttpRequest) -> HttpResponse:
    """Fail."""
    return HttpResponse(1 // 0)


urlpatterns = [path("raises", raises, name="raises")]


def test_every_answer_carries_the_id_and_the_replica() -> None:
    answer = Client().get("/health/live", headers={"x-request-id": "mine"})
    assert (answer["X-Request-ID"], answer["X-Served-By"]) == ("mine", "test-1")


def test_metrics_are_for_the_inside_only() -> None:
    assert Client().get("/metrics", headers={"x-forwarded-for": "1.2.3.4"}).status_code == 404


def sample(name: str, **labels: str) -> float:
    """Return the value of a sample, 0 if it does not exist."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_metrics_have_the_names_and_labels_that_the_dashboard_of_django_prometheus_asks_for() -> None:
    def seen() -> list[float]:
        view = {"view": "<unnamed view>", "method": "GET"}
        return [
            sample("django_http_requests_total_by_view_transport_method_total", transport="http", **view),
            sample("django_http_responses_total_by_status_view_method_total", status="404", **view),
            sample("django_http_requests_latency_seconds_by_view_method_count", **view),
            sample("django_http_requests_latency_seconds_by_view_method_bucket", le="+Inf", **view),
        ]

    before = seen()
    assert Client().get("/nothing/is/here").status_code == 404
    assert [after - one for after, one in zip(seen(), before, strict=True)] == [1.0] * 4


def test_a_view_that_raises_is_counted_once_with_the_type_of_the_exception(settings: Settings) -> None:
    def seen() -> tuple[float, float, float]:
        view = {"view": "raises", "method": "GET"}
        return (
            sample("django_http_exceptions_total_by_type_total", type="ZeroDivisionError"),
            sample("django_http_responses_total_by_status_view_method_total", status="500", **view),
            sample("django_http_requests_latency_seconds_by_view_method_count", **view),
        )

    settings.ROOT_URLCONF = __name__
    assert Client(raise_request_exception=False).get("/raises").status_code == 500
    assert seen() == (1, 1, 1)


def test_a_made_up_method_makes_no_label_of_its_own() -> None:
    assert Client().generic("X-MADE-UP", "/nothing/is/here").status_code in (404, 405)
    name, view = "django_http_requests_total_by_view_transport_method_total", "<unnamed view>"
    assert sample(name, view=view, transport="http", method="<invalid method>") >= 1
    assert not sample(name, view=view, transport="http", method="X-MADE-UP")


def test_no_metric_is_registered_that_is_not_filled() -> None:
    names = {family.name for family in REGISTRY.collect() if family.name.startswith("django_http_")}
    assert names == metrics.FILLED


def test_workers_that_replace_each_other_are_counted_exactly_and_leave_no_files(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": "app"}

    def python(code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    python(COUNT_IN_SLOT, "0", "100")
    files = sorted(path.name for path in tmp_path.iterdir())
    for _ in range(3):  # each a new process, as when a worker is replaced
        python(COUNT_IN_SLOT, "0", "100")
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    python(COUNT_IN_SLOT, "1", "50")
    sums = python(SUM)
    assert (
        'django_http_requests_total_by_view_transport_method_total{method="GET",transport="http",view="view"} 450.0'
        in sums
    )
    assert 'django_http_requests_total_by_method_total{method="GET"} 450.0' in sums


def test_the_seconds_of_a_task_are_counted_by_how_it_ended() -> None:
    def count(state: str) -> float:
        name = "scaleout.observability.tests.divide"
        return REGISTRY.get_sample_value("celery_task_seconds_count", {"task": name, "state": state}) or 0.0

    divide.apply(args=(1,))
    divide.apply(args=(0,))
    assert (count("SUCCESS"), count("FAILURE")) == (1, 1)
