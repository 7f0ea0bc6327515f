"""What a run leaves behind: JSON, the table and the page made of it."""

from __future__ import annotations

import json
from pathlib import Path

from harness.result import TIMES, Comparison, Json, Metric, page, result, tables
from harness.rounds import Samples

CPU = Metric("cpu", "CPU µs")
RATE = Metric("rate", "requests/s", less_is_better=False)
NAMES = {"direct": "direct", "through": "through a proxy"}
DIRECT = {"cpu": [500.0, 510.0, 490.0], "rate": [2000.0, 2010.0, 1990.0]}
SLOWER = {"cpu": [750.0, 765.0, 735.0], "rate": [1000.0, 1005.0, 995.0]}


def found(control: dict[str, list[float]] = DIRECT) -> Comparison:
    samples = Samples({"direct": DIRECT, "through": SLOWER, "direct again": control})
    return Comparison(NAMES, [CPU, RATE], samples, "Replicas: 1")


def whole() -> Json:
    return result("What it costs", {"Machine": "2 cores"}, [found()])


def test_a_result_keeps_every_round_and_can_be_read_again() -> None:
    again = json.loads(json.dumps(whole()))
    first, second, _ = again["comparisons"][0]["variants"]
    assert first["values"][0] == {"value": [500.0, 490.0, 510.0], "ratio": None, "rounds": [500.0, 510.0, 490.0]}
    assert second["values"][0]["ratio"] == [1.5, 1.5, 1.5]
    assert again["facts"] == {"Machine": "2 cores"}


def test_the_table_shows_values_and_ratios_and_what_is_worse_in_bold() -> None:
    assert tables(whole()).splitlines() == [
        "**Replicas: 1**",
        "",
        "|  | CPU µs | ratio | requests/s | ratio |",
        "| :-- | --: | --: | --: | --: |",
        "| direct | 500 | 1 | 2,000 | 1 |",
        f"| through a proxy | 750 | **1.50{TIMES} (1.50 to 1.50)** | 1,000 | **0.50{TIMES} (0.50 to 0.50)** |",
        f"| direct, again (A/A) | 500 | 1.00{TIMES} (1.00 to 1.00) | 2,000 | 1.00{TIMES} (1.00 to 1.00) |",
    ]


def test_the_control_voids_a_run_in_which_it_differs_from_the_baseline() -> None:
    assert found().void() is None
    assert "differs from itself" in (found(control=SLOWER).void() or "")


def test_the_page_has_every_result_of_the_folder(tmp_path: Path) -> None:
    for name in ("proxy", "cache"):
        (tmp_path / f"{name}.json").write_text(json.dumps(whole()))
    text = page(tmp_path)
    assert text.index("## cache\n\nWhat it costs.\n\n![cache](cache.png)") < text.index("## proxy")
    assert text.count("through a proxy") == 2
    assert "Machine: 2 cores" in text


def test_the_kept_page_is_made_of_the_kept_results() -> None:
    results = Path(__file__).resolve().parents[1] / "results"
    assert (results / "README.md").read_text(encoding="utf-8") == page(results)
    assert {path.stem for path in results.glob("*.png")} == {path.stem for path in results.glob("*.json")}
    benches = {path.stem for path in (results.parent / "benches").glob("[a-z]*.py")}
    assert {path.stem for path in results.glob("*.json")} <= benches
