"""What a bench found: JSON to keep, and the one table that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.rounds import Samples
from harness.stats import TOLERANCE, WIDEST, Estimate, void_reason

TIMES = "\N{MULTIPLICATION SIGN}"

type Json = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A value of a measurement: its key, its title, and whether less of it is better."""

    key: str
    title: str
    less_is_better: bool = True
    digits: int = 0


RATE = Metric("rate", "requests/s", less_is_better=False)
CPU = Metric("cpu", "CPU µs/request")
IN_PROCESS = [RATE, Metric("p50", "p50 µs"), Metric("p99", "p99 µs"), CPU]
BY_HTTP = [CPU, RATE, Metric("p50", "p50 ms", digits=2), Metric("p99", "p99 ms", digits=1)]


def control_of(names: Mapping[str, str]) -> str:
    """Return the key of the A/A control: the baseline, which is the first, measured once more."""
    return f"{next(iter(names))} again"


def with_control(names: Mapping[str, str]) -> dict[str, str]:
    """Return the titles of the variants by their keys, with the control's."""
    return {**names, control_of(names): f"{next(iter(names.values()))}, again (A/A)"}


@dataclass(frozen=True)
class Comparison:
    """Variants (key to title) against the first of them. The first metric is drawn; the control is
    judged by `judged`, or by the first.
    """

    names: Mapping[str, str]
    metrics: Sequence[Metric]
    samples: Samples
    title: str = ""
    judged: str = ""
    tolerance: float = TOLERANCE
    widest: float = WIDEST

    def void(self) -> str | None:
        """Return why the figures cannot be believed."""
        judged = self.judged or self.metrics[0].key
        control = self.samples.ratio(control_of(self.names), next(iter(self.names)), judged)
        return void_reason(control, self.tolerance, self.widest)

    def json(self) -> Json:
        """Return the figures: of each variant and metric the median, its interval, and the ratio to
        the baseline.
        """
        return {
            "title": self.title,
            "metrics": [{"title": one.title, "less_is_better": one.less_is_better, "digits": one.digits}
                        for one in self.metrics],
            "variants": [{"title": title, "values": [self._value(key, one.key) for one in self.metrics]}
                         for key, title in with_control(self.names).items()],
        }  # fmt: skip

    def _value(self, key: str, metric: str) -> Json:
        baseline = next(iter(self.names))
        ratio = None if key == baseline else _list(self.samples.ratio(key, baseline, metric))
        rounds = list(self.samples.values[key][metric])
        return {"value": _list(self.samples.typical(key, metric)), "ratio": ratio, "rounds": rounds}


def _list(found: Estimate) -> list[float]:
    return [found.middle, found.low, found.high]


def result(about: str, facts: Mapping[str, str], comparisons: Iterable[Comparison]) -> Json:
    """Return the whole result of a bench."""
    return {"about": about, "facts": dict(facts), "comparisons": [one.json() for one in comparisons]}


def text_of(found: Json) -> str:
    """Return the JSON to keep: a list of figures is one line."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^][{}]*\]", lambda figures: " ".join(figures[0].split()), text) + "\n"


def times(ratio: Sequence[float]) -> str:
    """Return a ratio with its interval: 1.23 times (1.20 to 1.26)."""
    middle, low, high = ratio
    digits = 2 if middle >= 0.1 else 3 if middle >= 0.01 else 4
    return f"{middle:.{digits}f}{TIMES} ({low:.{digits}f} to {high:.{digits}f})"


def tables(found: Json) -> str:
    """Return the tables of a result. A ratio that is surely worse than 1 is bold."""
    others = [_markdown(one["title"], one["rows"]) for one in found.get("tables", [])]  # of what is no figure
    return "\n\n".join([*map(_comparison, found["comparisons"]), *others])


def _comparison(found: Json) -> str:
    metrics = found["metrics"]
    rows = [["", *(word for metric in metrics for word in (metric["title"], "ratio"))]]
    for variant in found["variants"]:
        row = [variant["title"]]
        for metric, value in zip(metrics, variant["values"], strict=True):
            row += [f"{value['value'][0]:,.{metric['digits']}f}", _ratio(value["ratio"], metric["less_is_better"])]
        rows.append(row)
    return _markdown(found["title"], rows)


def _markdown(title: str, rows: Sequence[Sequence[str]]) -> str:
    head, *others = [f"| {' | '.join(row)} |" for row in rows]
    rule = f"| :-- |{' --: |' * (len(rows[0]) - 1)}"
    return "\n".join([*([f"**{title}**", ""] if title else []), head, rule, *others])


def _ratio(ratio: Sequence[float] | None, less_is_better: bool) -> str:
    if ratio is None:
        return "1"
    _, low, high = ratio
    worse = low > 1 if less_is_better else high < 1
    return f"**{times(ratio)}**" if worse else times(ratio)


def page(folder: Path) -> str:
    """Return the page of all results in `folder`: of each bench its plot, its tables, and where it
    was measured.
    """
    parts = [
        "# Results",
        "`make bench` writes this page from the JSON beside it. [What is measured, and how](../README.md)",
    ]
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        facts = "\n".join(f"- {name}: {value}" for name, value in found["facts"].items())
        parts += [f"## {path.stem}", f"{found['about']}.", f"![{path.stem}]({path.stem}.png)", tables(found), facts]
    return "\n\n".join(parts) + "\n"
