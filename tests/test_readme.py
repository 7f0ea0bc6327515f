"""The commands of the README and of docs/ work as described.

In each section the fenced ```console blocks are run: lines that begin with `$ ` are commands, the
lines after them what they print; `…` stands for anything. A section whose heading is followed by
`<!-- not tested: reason -->` is left out, and with `<!-- disruptive -->` it is run with the failure
tests, under readers who must all be answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.restore import restore
from support.settings import ROOT
from support.stack import Stack, run

SECONDS = 600  # for the commands of one section
END = "--- end of the command ---"


@dataclass
class Section:
    """A heading and the commands under it, each with its expected output."""

    title: str
    note: str = ""
    commands: list[tuple[str, str]] = field(default_factory=list)


def sections(text: str) -> list[Section]:
    """Return the README's sections in order."""
    found = [Section("top")]
    fence = ""
    for line in text.splitlines():
        if line.startswith("```"):
            fence = "" if fence else line.removeprefix("```").strip() or "text"
        elif not fence and (heading := re.match(r"#{1,6} (.*)", line)):
            found.append(Section(re.sub(r"\s*<!--.*?-->", "", heading[1]).strip()))
            found[-1].note = _note(heading[1])
        elif not fence and not found[-1].note:
            found[-1].note = _note(line)
        elif fence == "console":
            _take(found[-1], line)
    return found


def _note(line: str) -> str:
    match = re.search(r"<!--\s*(not tested:.*?|disruptive)\s*-->", line)
    return match[1] if match else ""


def _take(section: Section, line: str) -> None:
    commands = section.commands
    if line.startswith("$ "):
        commands.append((line.removeprefix("$ "), ""))
    elif commands and commands[-1][0].endswith("\\"):
        commands[-1] = (commands[-1][0] + "\n" + line.removeprefix("> "), "")
    elif commands:
        commands[-1] = (commands[-1][0], commands[-1][1] + line + "\n")


def pattern(expected: str) -> re.Pattern[str]:
    """Return the pattern of `expected`: `…` matches anything, trailing white space is ignored."""
    lines = [r".*".join(re.escape(part) for part in line.rstrip().split("…")) for line in expected.strip().splitlines()]
    # A line of nothing but `…` stands for any number of lines.
    return re.compile(r"\s*" + r"\s*\n".join(lines) + r"\s*", re.DOTALL)


_TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_ALL = [section for text in _TEXTS for section in sections(text.read_text(encoding="utf-8"))]
_TESTED = [one for one in _ALL if one.commands and not one.note.startswith("not tested")]


def test_the_readme_has_commands_that_are_tested() -> None:
    assert _TESTED


def test_every_section_that_is_left_out_says_why() -> None:
    for section in _ALL:
        if section.note.startswith("not tested"):
            assert len(section.note.removeprefix("not tested:").strip()) > 10, section.title


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(one, id=one.title, marks=[pytest.mark.failure] if one.note == "disruptive" else [])
        for one in _TESTED
    ],
)
def test_the_commands_of_the_section_work_as_shown(stack: Stack, site: Site, section: Section) -> None:
    if section.note != "disruptive":
        follow(section)
        return
    readers = Load(site, ["/", "/search/?q=e", "/api/products/?limit=5"], rate=20, threads=4, longest=2 * SECONDS)
    try:
        with readers:
            follow(section)
        assert_all_answered(readers)
    finally:
        restore(stack)


def follow(section: Section) -> None:
    """Run the commands one after the other in one shell, as a reader does, and compare what each
    prints.
    """
    script = "".join(f"{command}\nprintf '%s\\n' '{END}'\n" for command, _ in section.commands)
    *printed, rest = run("bash", "-euo", "pipefail", "-c", script, timeout=SECONDS).split(f"{END}\n")
    assert len(printed) == len(section.commands), f"a command ended the shell: {rest}"
    for (command, expected), shown in zip(section.commands, printed, strict=True):
        if expected.strip():
            assert pattern(expected).fullmatch(shown), f"$ {command}\nexpected:\n{expected}\nprinted:\n{shown}"
