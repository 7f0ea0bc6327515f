"""scripts/words.py names each listed word and each long line of prose, in a small tree of git."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.settings import ROOT


def faults(tree: Path) -> tuple[int, list[str]]:
    """Return the exit status of the check in `tree`, and what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/words.py"], cwd=tree, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an empty work tree."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


@pytest.mark.parametrize("word", ["TO" + "LD", "had_been_to" + "ld", "an" + "ew", "No" + "body", "b" + "ears"])
def test_a_listed_word_fails_with_its_file_and_line(tree: Path, word: str) -> None:
    (tree / "code.py").write_text(f"first = 1\n{word} = 2\n", encoding="utf-8")

    status, printed = faults(tree)

    assert status == 1
    assert [line.split(" ")[0] for line in printed] == ["code.py:2:"]


def test_other_words_that_contain_one_pass(tree: Path) -> None:
    (tree / "code.py").write_text("Authorization: Bearer x, a bearded, renewed, retold story\n", encoding="utf-8")
    (tree / "requirements.txt").write_text("to" + "ld==1.0\n", encoding="utf-8")

    assert faults(tree) == (0, [])


def test_a_long_line_of_prose_fails_but_no_table_fence_image_or_url(tree: Path) -> None:
    long = "word " * 25
    (tree / "page.md").write_text(
        f"{long}\n\n| {long} |\n\n```\n{long}\n```\n\n![{long}](a.png)\n\nhttps://example.org/{long}\n",
        encoding="utf-8",
    )
    (tree / "page.txt").write_text(long, encoding="utf-8")

    status, printed = faults(tree)

    assert status == 1
    assert [line.split(" ")[0] for line in printed] == ["page.md:1:"]
