"""The docs name files, functions and places that exist: each is looked up in the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.settings import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "app/scaleout/README.md", ROOT / "bench/README.md"]
)
PARTS = "app|nginx|haproxy|varnish|postgres|redis|swift|prometheus|tests|bench|scripts|docs|\\.ci"
# `path` or `path:name` below a folder of the repository; `<name>`, `*` and `…` stand for any.
PLACE = re.compile(rf"`((?:{PARTS})/[^`\s:<>*…$,]*)(?::([A-Za-z_][\w.-]*))?`")
EXAMPLE = "app/shop/reviews/"  # the service that docs/add-a-service.md adds
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def names(source: str) -> set[str]:
    """Return what a Python file defines: functions, classes with their methods, assigned names, and
    the keywords of its calls.
    """

    def of(body: list[ast.stmt], before: str = "") -> Iterator[str]:
        for node in body:
            match node:
                case ast.ClassDef(name=name, body=inside):
                    yield before + name
                    yield from of(inside, f"{before}{name}.")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield before + name
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    yield before + name

    tree = ast.parse(source)
    return {*of(tree.body), *(one.arg for one in ast.walk(tree) if isinstance(one, ast.keyword) and one.arg)}


def exists(path: Path, name: str) -> bool:
    """Return whether the file is there and defines `name`, if there is one."""
    if not name or not path.is_file():
        return path.exists() and not name
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return name in names(source)
    if source.startswith("#!"):
        return re.search(rf"^{re.escape(name)}\(\)", source, re.MULTILINE) is not None
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", source) is not None


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them: a comment behind a heading
    adds a dash.
    """
    found = set[str]()
    for title in re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"<!--.*?-->|\[([^\]]*)\]\([^)]*\)", r"\1", title.strip()).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def broken_places(page: Path, root: Path = ROOT) -> list[str]:
    """Return the places that a page names and that do not exist."""
    return [
        f"{path}:{name}" if name else path
        for path, name in PLACE.findall(prose(page))
        if not (path.startswith(EXAMPLE) or exists(root / path, name))
    ]


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_exists(page: Path) -> None:
    assert broken_places(page) == []
    assert broken_links(page) == []


def of_library() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return what django-prometheus registers, of which the application fills some."""
    spec = find_spec("django_prometheus.middleware")
    assert spec is not None
    assert spec.origin is not None
    found = {}
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="register_metric"),
                args=[ast.Name(id=kind), ast.Constant(str(name)), _, *labels],
            ):
                found[name] = kind.lower(), tuple(ast.literal_eval(labels[0])) if labels else ()
    return found


def metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the type and the labels of each Prometheus metric in app/, by its name."""
    text = (ROOT / "app/scaleout/observability/metrics.py").read_text(encoding="utf-8")
    found = {name: what for name, what in of_library().items() if f'"{name}"' in text}
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if "tests" not in path.parts else ():
            match node:
                case ast.Call(
                    func=ast.Name(id="Counter" | "Gauge" | "Histogram" as kind),
                    args=[ast.Constant(str(name)), ast.Constant(str()), *labels],
                ):
                    found[name] = kind.lower(), tuple(ast.literal_eval(labels[0])) if labels else ()
                case ast.Call(
                    func=ast.Name(id="CounterMetricFamily"),
                    args=[ast.Constant(str(name)), *_],
                    keywords=[ast.keyword(arg="labels", value=labels)],
                ):
                    found[name] = "counter", tuple(ast.literal_eval(labels))
    return found


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", prose(ROOT / "docs/metrics.md"), re.MULTILINE)

    assert {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == metrics()


def test_the_index_names_every_page() -> None:
    linked = set(LINK.findall(prose(ROOT / "docs/README.md")))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")} - {"README.md"}

    assert pages - {link.partition("#")[0] for link in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_settings_and_constants_that_exist(page: Path) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])\b", prose(page)))

    assert named - _constants() - {"CAP_NET_RAW", "KEY_PREFIX"} == set()  # the kernel's, and Django's


@cache
def _constants() -> set[str]:
    """Return the words in capital letters, with an underscore, of all files but the pages."""
    files = [path for part in PARTS.split("|") for path in (ROOT / part.replace("\\", "")).rglob("*")]
    files += [*ROOT.glob("*.y*ml"), ROOT / ".env.example", ROOT / "Makefile"]
    found = set[str]()
    for path in files:
        if path.is_file() and path.suffix not in (".md", ".png", ".pyc", ".gz"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found.update(re.findall(r"[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]", text))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_targets_of_make_and_tests_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    # `make -C …` and `make …` are no target, nor is "make" at the end of a sentence.
    named = set(
        re.findall(r"(?:`|^|&& |\$ )make(?: --no-print-directory)? ([a-z-]*[a-z])(?=[ `\n])", text, re.MULTILINE)
    )
    tests = [path for paths in re.findall(r"TESTS=\"?([^\"`\n#]+)", text) for path in paths.split() if "/" in path]

    assert named - targets == set()
    assert [path for path in tests if not (ROOT / path.partition("::")[0]).exists()] == []


def test_the_tour_names_the_function_of_each_step() -> None:
    places = PLACE.findall(prose(ROOT / "docs/tour.md"))

    assert len([path for path, name in places if name]) > 40


def test_a_renamed_function_a_moved_file_and_a_lost_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/code.py").write_text("class Cluster:\n    def primary(self): ...\n", encoding="utf-8")
    (tmp_path / "app/run").write_text("#!/bin/bash\nweb() { :; }\n", encoding="utf-8")
    (tmp_path / "app/lb.cfg").write_text("option httpchk\n", encoding="utf-8")
    page = tmp_path / "page.md"
    good = "`app/code.py:Cluster.primary` `app/run:web` `app/lb.cfg:httpchk` `app/<name>/` [a](app/run) [b](#one-two)"
    page.write_text(f"# One, two\n{good}\n", encoding="utf-8")
    assert (broken_places(page, tmp_path), broken_links(page)) == ([], [])

    bad = "`app/code.py:Cluster.leader` `app/run:worker` `app/lb.cfg:http` `app/old.py` [a](app/old) [b](#one-two)"
    page.write_text(f"# One, two <!-- note -->\n{bad}\n", encoding="utf-8")

    assert broken_places(page, tmp_path) == [
        "app/code.py:Cluster.leader",
        "app/run:worker",
        "app/lb.cfg:http",
        "app/old.py",
    ]
    assert broken_links(page) == ["app/old", "#one-two"]
