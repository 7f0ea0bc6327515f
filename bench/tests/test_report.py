"""The page that a run leaves behind."""

from pathlib import Path

from harness.report import TIMES, Metric, Report, Table, comparison, every_round, number, target, times, worse
from harness.rounds import Samples
from harness.stats import Estimate

CPU = Metric("cpu", "CPU µs")
RATE = Metric("rate", "requests/s", less_is_better=False)
SAMPLES = Samples(
    {
        "direct": {"cpu": [500.0, 510.0, 490.0], "rate": [2000.0, 2010.0, 1990.0]},
        "through": {"cpu": [750.0, 765.0, 735.0], "rate": [1000.0, 1005.0, 995.0]},
    }
)
NAMES = {"direct": "direct", "through": "through a proxy"}


def report(**changes: list[str]) -> Report:
    return Report(
        title="A title",
        question="How much?",
        method=["three rounds"],
        findings=["it costs"],
        losses=changes.get("losses", []),
        tables=[comparison(SAMPLES, NAMES, "direct", [CPU, RATE])],
        rounds=[every_round(SAMPLES, NAMES, CPU, "CPU")],
        void=changes.get("void", []),
    )


def test_ratios_carry_their_interval_and_numbers_their_thousands() -> None:
    assert times(Estimate(1.234, 1.2, 1.26)) == f"1.23{TIMES} (1.20 to 1.26)"
    assert number(1234567.891, 1) == "1,234,567.9"


def test_a_comparison_puts_each_value_beside_its_ratio() -> None:
    table = comparison(SAMPLES, NAMES, "direct", [CPU, RATE])
    assert table.rows[0] == ["direct", "500", "1", "2,000", "1"]
    assert table.rows[1] == [
        "through a proxy",
        "750",
        f"1.50{TIMES} (1.50 to 1.50)",
        "1,000",
        f"0.50{TIMES} (0.50 to 0.50)",
    ]


def test_whatever_is_surely_worse_is_named_in_both_directions() -> None:
    assert worse(SAMPLES, NAMES, "direct", [CPU, RATE]) == [
        f"through a proxy: 1.50{TIMES} (1.50 to 1.50) the CPU µs of direct.",
        f"through a proxy: 0.50{TIMES} (0.50 to 0.50) the requests/s of direct.",
    ]
    assert worse(SAMPLES, {"through": "through", "direct": "direct"}, "through", [CPU]) == []


def test_a_page_says_what_where_and_how() -> None:
    text = report().markdown("proxy", {"Machine": "2 cores"})
    for expected in (
        "# A title",
        "![A title](proxy.png)",
        "make bench NAME=proxy",
        "| Machine | 2 cores |",
        "| through",
    ):
        assert expected in text
    assert "Nothing that these rounds could tell from noise." in text
    assert "Void" not in text


def test_a_void_run_says_so_before_any_figure() -> None:
    text = report(void=["the same variant differs from itself"]).markdown("proxy", {})
    assert text.index("Void: do not believe") < text.index("500")


def test_a_page_is_written_where_it_belongs(tmp_path: Path) -> None:
    path = report().write(tmp_path / "results", "proxy", {})
    assert path == tmp_path / "results" / "proxy.md"
    assert path.read_text(encoding="utf-8").startswith("# A title")


def test_a_table_s_figures_are_right_aligned() -> None:
    assert Table(["", "a"], [["x", "1"]]).markdown() == "|  | a |\n| :-- | --: |\n| x | 1 |"


def test_a_target_is_met_missed_or_not_told() -> None:
    assert target(Estimate(1.01, 1.0, 1.02), most=1.02) == f"the target of at most 1.02{TIMES} is met"
    assert target(Estimate(1.05, 1.04, 1.06), most=1.02) == f"**the target of at most 1.02{TIMES} is missed**"
    assert "cannot tell" in target(Estimate(1.01, 1.0, 1.03), most=1.02)
    assert target(Estimate(13, 12.1, 14), least=12) == f"the target of at least 12{TIMES} is met"
    assert "missed" in target(Estimate(11, 10, 11.9), least=12)
    assert "cannot tell" in target(Estimate(12, 11, 13), least=12)


def test_a_metric_says_how_close_its_ratios_are_looked_at() -> None:
    table = comparison(SAMPLES, NAMES, "direct", [Metric("cpu", "CPU µs", ratio_digits=3)])
    assert table.rows[1][2] == f"1.500{TIMES} (1.500 to 1.500)"
