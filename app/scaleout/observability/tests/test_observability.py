"""What every answer carries, and honest counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import shared_task
from django.test import Client
from prometheus_client import REGISTRY

pytestmark = pytest.mark.django_db(databases="__all__")

COUNT_IN_SLOT = """
import sys
from scaleout.observability import metrics
metrics.use_slot(sys.argv[1])
for _ in range(int(sys.argv[2])):
    metrics._requests.labels("view", "http", "GET").inc()
"""
SUM = "from scaleout.observability import metrics; print(metrics.exposition().decode())"


@shared_task(name="scaleout.observability.tests.divide")
def divide(by: int) -> float:
    """Return the inverse."""
    return 1 / by


def test_every_answer_carries_the_id_and_the_replica() -> None:
    answer = Client().get("/health/live", headers={"x-request-id": "mine"})
    assert (answer["X-Request-ID"], answer["X-Served-By"]) == ("mine", "test-1")


def test_metrics_are_for_the_inside_only() -> None:
    assert Client().get("/metrics", headers={"x-forwarded-for": "1.2.3.4"}).status_code == 404


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
    assert (
        'django_http_requests_total_by_view_transport_method_total{method="GET",transport="http",view="view"} 450.0'
        in python(SUM)
    )


def test_the_seconds_of_a_task_are_counted_by_how_it_ended() -> None:
    def count(state: str) -> float:
        name = "scaleout.observability.tests.divide"
        return REGISTRY.get_sample_value("celery_task_seconds_count", {"task": name, "state": state}) or 0.0

    divide.apply(args=(1,))
    divide.apply(args=(0,))
    assert (count("SUCCESS"), count("FAILURE")) == (1, 1)
