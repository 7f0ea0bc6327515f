"""When each container was started and when it became healthy, from the engine's events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Span:
    """A container's way to being of use, in seconds since the command."""

    name: str  # as Compose counts: web-1, web-2, …; without a number where there is one only
    service: str
    start: float
    end: float  # healthy; or, for one that does its work and ends, its end


def spans(events: Iterable[str], begun: float) -> list[Span]:
    """Return the spans in the lines, one JSON object each, of `docker events`, in order of their
    start.

    `begun` is the time of the command, in seconds since 1970. The first good healthcheck counts.
    """
    started: dict[tuple[str, str], float] = {}
    ended: dict[tuple[str, str], float] = {}
    for line in events:
        event = json.loads(line)
        labels = event["Actor"]["Attributes"]
        who = labels["com.docker.compose.service"], labels["com.docker.compose.container-number"]
        moment = event["timeNano"] / 1e9 - begun
        action = event["Action"]
        if action == "start":
            started.setdefault(who, moment)
        elif action == "health_status: healthy" or (action == "die" and labels.get("exitCode") == "0"):
            ended.setdefault(who, moment)
    services = [service for service, _ in started]
    return sorted(
        (
            Span(
                f"{service} {number}" if services.count(service) > 1 else service,
                service,
                started[service, number],
                ended[service, number],
            )
            for service, number in started
            if (service, number) in ended
        ),
        key=lambda span: (span.start, span.name),
    )


def middle_spans(starts: Sequence[Sequence[Span]]) -> list[Span]:
    """Return each container's median start and end over several starts of the stack."""
    return [
        Span(
            span.name,
            span.service,
            median(other.start for one in starts for other in one if other.name == span.name),
            median(other.end for one in starts for other in one if other.name == span.name),
        )
        for span in starts[0]
    ]
