"""The start of a stack, from the engine's events."""

import json

from harness.timeline import Span, middle_spans, spans

BEGUN = 1_700_000_000.0


def event(action: str, service: str, seconds: float, number: int = 1, **attributes: str) -> str:
    labels = {
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": str(number),
        **attributes,
    }
    return json.dumps({"Action": action, "timeNano": int((BEGUN + seconds) * 1e9), "Actor": {"Attributes": labels}})


EVENTS = [
    event("create", "etcd", 0.5),
    event("start", "etcd", 1.0),
    event("health_status: healthy", "etcd", 4.0),
    event("start", "migrate", 5.0),
    event("die", "migrate", 9.0, exitCode="0"),
    event("start", "web", 9.5, number=1),
    event("start", "web", 9.5, number=2),
    event("exec_create: curl", "web", 10.0, number=1),
    event("health_status: unhealthy", "web", 11.0, number=1),
    event("health_status: healthy", "web", 12.0, number=1),
    event("health_status: healthy", "web", 13.0, number=2),
    event("health_status: healthy", "web", 99.0, number=2),
]


def test_a_span_goes_from_the_start_to_the_first_good_healthcheck() -> None:
    found = [(span.name, round(span.start, 3), round(span.end, 3)) for span in spans(EVENTS, BEGUN)]
    assert found == [("etcd", 1, 4), ("migrate", 5, 9), ("web 1", 9.5, 12), ("web 2", 9.5, 13)]


def test_a_job_that_failed_was_of_no_use() -> None:
    events = [event("start", "migrate", 1), event("die", "migrate", 2, exitCode="1")]
    assert spans(events, BEGUN) == []


def test_several_starts_become_one_by_their_medians() -> None:
    starts = [[Span("web 1", "web", start, start + 2)] for start in (1.0, 2.0, 9.0)]
    assert middle_spans(starts) == [Span("web 1", "web", 2.0, 4.0)]
