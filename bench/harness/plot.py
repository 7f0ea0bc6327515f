"""The one plot of all benches: a bar for each variant, by the first metric of its comparison.

matplotlib is in the image of the benches only, so it is imported when drawing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from harness.result import Json, times

INK, QUIET, GRID, BLUE = "#1f2933", "#9aa5b1", "#e4e7eb", "#0072b2"
WIDTH, BAR, AROUND, HEAD = 10.0, 0.42, 0.95, 0.5  # inches: the figure, a row, what is around the rows, the title
STEEP = 50  # of values that differ by more, powers of ten are drawn
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "axes.grid.axis": "x", "grid.color": GRID, "xtick.color": INK, "ytick.color": INK, "figure.facecolor": "white",
}  # fmt: skip


def draw(found: Json, path: Path) -> None:
    """Draw a result into `path`, a PNG."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    heights = [BAR * len(one["variants"]) + AROUND for one in found["comparisons"]]
    with pyplot.rc_context(_STYLE):
        canvas = pyplot.figure(figsize=(WIDTH, sum(heights) + HEAD), layout="constrained")
        canvas.suptitle(found["about"], fontsize=12, fontweight="bold", wrap=True)
        rows = canvas.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, comparison in zip(rows[:, 0], found["comparisons"], strict=True):
            _bars(axes, comparison)
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=120)
        pyplot.close(canvas)


def _bars(axes: Any, comparison: Json) -> None:
    metric = comparison["metrics"][0]
    values = [one["values"][0] for one in comparison["variants"]]
    medians = [one["value"][0] for one in values]
    for row, (one, median) in enumerate(zip(values, medians, strict=True)):
        _, low, high = one["value"]
        axes.barh(row, median, color=BLUE, height=0.62)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
        text = f"{median:,.{metric['digits']}f}" + (f"   {times(one['ratio'])}" if one["ratio"] else "")
        axes.text(max(high, median), row, f"  {text}", va="center", fontsize=10)
    axes.set_yticks(range(len(values)), [one["title"] for one in comparison["variants"]])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    if max(medians) > STEEP * min(medians):
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 2, max(medians) * (max(medians) / min(medians)) ** 0.6)
    else:
        axes.set_xlim(0, max(one["value"][2] for one in values) * 1.6)
    axes.set_xlabel(f"{metric['title']}  (black: 95 % interval)")
    if comparison["title"]:
        axes.set_title(comparison["title"], loc="left", fontsize=11)
