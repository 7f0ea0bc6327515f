"""The metrics of all packages together: none imports another."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connections, transaction
from django.test import Client
from scaleout.events import measuring, metrics
from scaleout.events.outbox import publish
from scaleout.sharding import measuring as moves
from scaleout.sharding import metrics as of_moves


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_replica_that_is_asked_for_its_metrics_looks_into_its_outboxes_and_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for module in (measuring, moves):
        monkeypatch.setattr(module, "EVERY", 0.0)
        monkeypatch.setattr(module, "PATIENCE", 10.0)
    with transaction.atomic(using="shard1"):
        publish("user_deleted", aggregate="user:1", using="shard1", user_id=1)
    assert Client().get("/metrics").status_code == 200
    found = [metrics.depth.labels(connections[alias].settings_dict["NAME"]) for alias in ("default", "shard1")]
    found.append(of_moves.changes.labels(connections["shard1"].settings_dict["NAME"]))
    assert [gauge._value.get() for gauge in found] == [0, 1, 0]
