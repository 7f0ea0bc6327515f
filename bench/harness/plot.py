"""One look for all plots. matplotlib is in the image of the benches only, so it is imported when drawing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

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
