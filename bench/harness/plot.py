"""One look for all plots. matplotlib is in the image of the benches only, so it is imported when
drawing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.report import Metric, number, times
from harness.rounds import Samples

INK = "#1f2933"
QUIET = "#9aa5b1"
GRID = "#e4e7eb"
# Told apart by people who see colours differently (Okabe and Ito's palette).
BLUE, ORANGE, GREEN, PURPLE, RED = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def figure(path: Path, title: str, subtitle: str, width: float = 10, height: float = 5) -> Iterator[Any]:
    """Yield a matplotlib figure (inches) and save it to `path` as PNG afterwards."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    with pyplot.rc_context(_STYLE):
        canvas = pyplot.figure(figsize=(width, height), layout="constrained")
        canvas.get_layout_engine().set(rect=(0.01, 0.01, 0.98, 1 - 0.85 / height))
        canvas.text(0.02, 1 - 0.32 / height, title, fontsize=15, fontweight="bold", va="center")
        canvas.text(0.02, 1 - 0.62 / height, subtitle, fontsize=10.5, color="#52606d", va="center")
        yield canvas
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=150)
        pyplot.close(canvas)


def bars(
    axes: Any,
    samples: Samples,
    names: Mapping[str, str],
    metric: Metric,
    parts: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Draw each variant (key to name) as a bar with its interval, its value and its ratio to the
    first, the baseline.

    `parts`: the metrics that the value is made of, with what they are called and their colours.
    """
    axes.grid(visible=False, axis="y")
    baseline = next(iter(names))
    for row, key in enumerate(names):
        whole = samples.typical(key, metric.key)
        pieces = parts or {metric.key: ("", BLUE)}
        left = 0.0
        for piece, (label, colour) in pieces.items():
            width = samples.typical(key, piece).middle
            axes.barh(row, width, left=left, color=colour, height=0.62, label=label if row == 0 else None)
            left += width
        axes.plot([whole.low, whole.high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
        text = number(whole.middle, metric.digits)
        if key != baseline:
            text += f"   {times(samples.ratio(key, baseline, metric.key), metric.ratio_digits)}"
        axes.text(max(whole.high, left), row, f"  {text}", va="center", fontsize=10)
    axes.set_yticks(range(len(names)), names.values())
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(samples.typical(key, metric.key).high for key in names) * 1.65)
    axes.set_xlabel(f"{metric.title}  (black line: 95 % interval)")
    axes.spines["left"].set_color(QUIET)
    if parts:
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=len(parts))
