"""The rules of the layout, read from the sources: what may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.settings import ROOT

TOOLKIT = {
    "replication", "sharding", "caching", "cdn", "health", "gateway", "events", "identity", "observability",
    "problem", "text",
}  # fmt: skip
DOMAINS = {"storefront", "users", "products", "orders"}
APP, TESTS = ROOT / "app", ROOT / "tests"


def sources(folder: Path) -> list[Path]:
    """Return the Python files below `folder`."""
    return sorted(folder.rglob("*.py"))


def packages(folder: Path) -> set[str]:
    """Return the top-level names that code in `folder` can be imported by."""
    return {path.name for path in folder.iterdir() if path.is_dir()} | {path.stem for path in folder.glob("*.py")}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level name of each absolute import in a file, by statement or by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield node.lineno, module.split(".")[0]
            case ast.ImportFrom(level=level) if (
                level > len(path.relative_to(APP if APP in path.parents else TESTS).parents) - 1
            ):
                yield node.lineno, "a relative import that leaves its package"
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield node.lineno, name.split(".")[0]


def offences(folder: Path, forbidden: set[str]) -> list[str]:
    """Return `file:line: name` for each import of a forbidden name below `folder`."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(folder)
        for line, name in imported(path)
        if name in forbidden or name.startswith("a relative")
    ]


@pytest.mark.parametrize("name", sorted(package for package in TOOLKIT if (APP / package).is_dir()))
def test_a_toolkit_package_imports_nothing_of_this_project_but_itself(name: str) -> None:
    assert not offences(APP / name, packages(APP) - {name})


def test_every_package_of_the_app_is_known_to_these_rules() -> None:
    folders = {path.name for path in APP.iterdir() if (path / "__init__.py").exists()}
    assert folders <= TOOLKIT | DOMAINS | {"config", "stateless"}


def test_the_live_tests_import_nothing_of_the_app() -> None:
    assert not offences(TESTS, packages(APP) - packages(TESTS))


def test_the_app_imports_nothing_of_the_live_tests() -> None:
    assert not offences(APP, {"tests", "support"})


def test_the_live_tests_import_no_django() -> None:
    assert not offences(TESTS, {"django", "celery"})
