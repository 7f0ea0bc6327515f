"""Copies of the stack's configuration that a bench changes in one place."""

from pathlib import Path

import pytest
from benches import proxy
from harness.errors import BenchError
from harness.scene import Scene, changed_copy


def scene(root: Path, text: str) -> Scene:
    (root / "nginx").mkdir()
    (root / "nginx" / "forward.conf").write_text(text)
    return Scene("proxy", root, quick=True)


def test_a_copy_differs_in_the_one_place(tmp_path: Path) -> None:
    copy = changed_copy(scene(tmp_path, "a;\nkeep on;\nb;\n"), "nginx/forward.conf", "keep on;", "keep off;")
    assert copy.read_text() == "a;\nkeep off;\nb;\n"
    assert (tmp_path / "nginx" / "forward.conf").read_text() == "a;\nkeep on;\nb;\n"


@pytest.mark.parametrize("text", ["nothing of it;\n", "keep on;\nkeep on;\n"])
def test_a_configuration_that_has_moved_on_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(BenchError, match="expected to find 'keep on;' once"):
        changed_copy(scene(tmp_path, text), "nginx/forward.conf", "keep on;", "keep off;")


@pytest.mark.parametrize("change", proxy.CHANGES)
def test_what_the_proxy_bench_changes_is_there(change: tuple[str, str, str]) -> None:
    source, old, _ = change
    assert (Path(__file__).resolve().parents[2] / source).read_text(encoding="utf-8").count(old) == 1
