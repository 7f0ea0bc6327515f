"""Prometheus's HTTP API, and a parser of its text format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import requests

from support.settings import TIME_FACTOR

PATIENCE = 10.0 * TIME_FACTOR  # seconds to wait for an answer

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Prometheus:
    """The server at one port of this machine."""

    port: int

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.port}"

    def api(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()["data"]

    def targets(self) -> list[dict[str, Any]]:
        """Return all scrape targets."""
        return list(self.api("targets", state="active")["activeTargets"])

    def value(self, query: str) -> float:
        """Return the value of `query`, or 0 without a sample."""
        result = self.api("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else 0.0


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and values of the metric `name` in Prometheus's text format."""
    return [
        (dict(_LABEL.findall(labels or "")), float(value))
        for found, labels, value in _SAMPLE.findall(text)
        if found == name
    ]
