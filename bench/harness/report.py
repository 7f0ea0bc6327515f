"""A bench's result as Markdown: what was asked, how it was measured, on what, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.rounds import Samples
from harness.stats import Estimate

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Metric:
    """A value of a measurement: its key, how it and its ratios are written, and whether less of it
    is better.
    """

    key: str
    title: str
    less_is_better: bool = True
    digits: int = 0
    ratio_digits: int = 2


@dataclass(frozen=True)
class Table:
    """A table; the first column holds names, the others figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """Return the table, under its title."""
        rule = [":--", *["--:"] * (len(self.header) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows)]
        return "\n".join([*([f"### {self.title}", ""] if self.title else []), *lines])


@dataclass(frozen=True)
class Report:
    """Everything that a result says. `void` holds the reasons why it must not be believed."""

    title: str
    question: str
    method: Sequence[str]
    findings: Sequence[str]
    losses: Sequence[str]
    tables: Sequence[Table]
    rounds: Sequence[Table] = field(default=())
    void: Sequence[str] = field(default=())

    def markdown(self, name: str, facts: Mapping[str, str]) -> str:
        """Return the whole page."""
        command = f"make bench NAME={name}"
        parts = [f"# {self.title}", self.question]
        if self.void:
            parts.append("**Void: do not believe these figures.** " + "; ".join(self.void) + ".")
        parts += [
            f"![{self.title}]({name}.png)",
            "## Result",
            bullets(self.findings),
            "\n\n".join(table.markdown() for table in self.tables),
            "## What it does not gain, or loses",
            bullets(self.losses or ["Nothing that these rounds could tell from noise."]),
            "## How it was measured",
            bullets(self.method),
            Table(["", ""], [["Command", f"`{command}`"], *([key, value] for key, value in facts.items())])
            .markdown()
            .replace("--:", ":--"),
        ]
        if self.rounds:
            inner = "\n\n".join(table.markdown() for table in self.rounds)
            parts.append(f"<details><summary>Every round</summary>\n\n{inner}\n\n</details>")
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path, name: str, facts: Mapping[str, str]) -> Path:
        """Write the page into `folder` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.md"
        path.write_text(self.markdown(name, facts), encoding="utf-8")
        return path


def bullets(lines: Sequence[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {line}" for line in lines)


def times(ratio: Estimate, digits: int = 2) -> str:
    """Return a ratio with its interval: 1.23 times, 1.20 to 1.26."""
    return f"{ratio.middle:.{digits}f}{TIMES} ({ratio.low:.{digits}f} to {ratio.high:.{digits}f})"


def target(ratio: Estimate, *, least: float = 0.0, most: float = float("inf")) -> str:
    """Return how a ratio stands to what was aimed at; where the bounds of its interval disagree,
    that is said.
    """
    aim = f"at least {least:g}{TIMES}" if least else f"at most {most:g}{TIMES}"
    if least <= ratio.low and ratio.high <= most:
        return f"the target of {aim} is met"
    if ratio.high < least or ratio.low > most:
        return f"**the target of {aim} is missed**"
    return f"whether the target of {aim} is met these rounds cannot tell"


def number(value: float, digits: int = 0) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,.{digits}f}"


def comparison(
    samples: Samples, names: Mapping[str, str], baseline: str, metrics: Sequence[Metric], title: str = ""
) -> Table:
    """Return a table of variants (key to name), their medians and their ratios to the baseline."""
    header = ["", *(word for metric in metrics for word in (metric.title, "ratio"))]
    rows = []
    for key, name in names.items():
        row = [name]
        for metric in metrics:
            row.append(number(samples.typical(key, metric.key).middle, metric.digits))
            ratio = samples.ratio(key, baseline, metric.key)
            row.append("1" if key == baseline else times(ratio, metric.ratio_digits))
        rows.append(row)
    return Table(header, rows, title)


def worse(samples: Samples, names: Mapping[str, str], baseline: str, metrics: Sequence[Metric]) -> list[str]:
    """Return a sentence for each variant and metric that is surely worse than the baseline."""
    found = []
    for key, name in names.items():
        for metric in metrics:
            if key == baseline:
                continue
            ratio = samples.ratio(key, baseline, metric.key)
            if ratio.above_one if metric.less_is_better else ratio.below_one:
                found.append(f"{name}: {times(ratio, metric.ratio_digits)} the {metric.title} of {names[baseline]}.")
    return found


def every_round(samples: Samples, names: Mapping[str, str], metric: Metric, title: str) -> Table:
    """Return the values of all rounds, for those who want to reckon again."""
    rounds = len(next(iter(samples.values.values()))[metric.key])
    return Table(
        ["", *(f"round {index + 1}" for index in range(rounds))],
        [
            [name, *(number(value, metric.digits) for value in samples.values[key][metric.key])]
            for key, name in names.items()
        ],
        title,
    )
