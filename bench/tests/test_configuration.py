"""The benches that change the stack's configuration still find what they change."""

from pathlib import Path

import pytest
from benches import proxy
from harness.scene import Scene, changed_copy

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("change", proxy.CHANGES)
def test_what_the_proxy_bench_changes_is_there(tmp_path: Path, change: tuple[str, str, str]) -> None:
    source, old, new = change
    copy = tmp_path / source
    copy.parent.mkdir()
    copy.write_text((ROOT / source).read_text(encoding="utf-8"), encoding="utf-8")
    assert new in changed_copy(Scene("proxy", tmp_path, quick=True), source, old, new).read_text(encoding="utf-8")
