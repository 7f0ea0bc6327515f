"""Print one request's way through all containers in order of time: `python -m
scaleout.observability.timeline ID WHERE`.

`make trace` runs it. It reads the containers' logs on standard input, each line after the
container's name and a tab. It needs Python and nothing else. Callers control the content of log
lines, so control characters are escaped before a terminal sees them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_LONGEST = 200  # characters shown of a line
_DAY = 86_400_000  # milliseconds; an upper limit of every duration


@dataclass(frozen=True)
class Step:
    """A line of a log, and the time at which its event began."""

    began: datetime
    milliseconds: float
    container: str
    line: dict[str, Any]

    def what(self) -> str:
        """Return the event and how it ended."""
        line = self.line
        if "message" in line:  # the application's
            text = str(line["message"])
            if line.get("logger") not in ("access", "task"):
                text = f"{line.get('logger')}: {text}"
            if line.get("level") not in ("DEBUG", "INFO"):
                text = f"{line.get('level')} {text}"
        else:  # a load balancer's
            text = f"{line.get('method')} {line.get('path')} {line.get('status')}"
            if line.get("retries"):
                text += f", {line['retries']} more tries"
        if self.milliseconds:
            text += f", {self.milliseconds:g} ms"
        if failure := str(line.get("exception") or "").strip():
            text += f": {failure.splitlines()[-1]}"
        return text


def read(identifier: str, lines: Iterable[str]) -> list[Step]:
    """Return the steps of the request or the trace with this id, in the order in which they
    began.
    """
    steps = [step for line in lines if (step := _step(identifier, *line.rstrip("\n").partition("\t")))]
    # Of two that began in the same millisecond the longer one contains the other.
    return sorted(steps, key=lambda step: (step.began, -step.milliseconds))


def _step(identifier: str, container: str, _tab: str, text: str) -> Step | None:
    try:
        line = json.loads(text)
        if not isinstance(line, dict) or identifier not in (line.get("request_id"), line.get("trace_id")):
            return None
        milliseconds = _number(line.get("milliseconds", line.get("request_ms")))
        if "begin" in line:  # HAProxy logs the begin
            return Step(_moment(line["begin"]), milliseconds, container, line)
        return Step(_moment(line["time"]) - timedelta(milliseconds=milliseconds), milliseconds, container, line)
    except (ValueError, KeyError, RecursionError):  # a line of another format
        return None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < _DAY else 0.0


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def table(steps: list[Step]) -> Iterable[str]:
    """Yield the lines to print."""
    first = steps[0].began
    for name, key in (("request", "request_id"), ("trace", "trace_id")):
        found = dict.fromkeys(str(step.line[key]) for step in steps if step.line.get(key))
        yield harmless(f"{name}: {', '.join(found)}")
    yield f"began: {first.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
    width = max(len(step.container) for step in steps)
    yield f"{'ms':>10}  {'container':{width}}  what"
    for step in steps:
        after = (step.began - first) / timedelta(milliseconds=1)
        yield f"{after:10.1f}  {harmless(step.container):{width}}  {harmless(step.what())}"


def harmless(text: str) -> str:
    """Return the text with control characters escaped, at most _LONGEST characters of it."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def main(identifier: str, where: str) -> int:
    """Print the table, or an error that names `where` it was looked for; return the exit code."""
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # it is a file
    steps = read(identifier, sys.stdin)
    if not steps:
        print(f"error: no container has logged {identifier} {where}", file=sys.stderr)
        return 1
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # it is a file
    for line in table(steps):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
