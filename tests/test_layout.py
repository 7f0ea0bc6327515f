"""The rules of the layout, read from the sources: config → shop → scaleout → libraries, and nothing
the other way.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.settings import ROOT

APP, TESTS = ROOT / "app", ROOT / "tests"
TOOLKIT = {
    "base", "broker", "caching", "cdn", "dns", "events", "gateway", "health", "identity", "observability", "problems",
    "replication", "s3", "sharding", "shedding", "text",
}  # fmt: skip
# A service is described in the registry, and is a package of its own.
REGISTRY = (APP / "shop" / "services" / "registry.py").read_text(encoding="utf-8")
SERVICES = set(re.findall(r'Service\(\s*"([a-z]+)"', REGISTRY)) - {"web"}
SHOP = SERVICES | {"services", "serving", "shared_state", "storefront"}
BY_NAME = {"import_module", "import_string", "__import__"}  # functions that import what a string names
LEAVES = "a relative import that leaves everything"


def sources(folder: Path) -> list[Path]:
    """Return the Python files below `folder`, tests too, or the file itself."""
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder] * (folder.suffix == ".py")


def packages(folder: Path) -> set[str]:
    """Return the top-level names that code in `folder` can be imported by."""
    return {path.name for path in folder.iterdir() if path.is_dir()} | {path.stem for path in folder.glob("*.py")}


def called(node: ast.Call, renamed: dict[str, str]) -> str:
    """Return the last name of what is called, by its name where it was made."""
    match node.func:
        case ast.Name(id=name):
            return renamed.get(name, name)
        case ast.Attribute(attr=name):
            return name
    return ""


def imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of each import in a file below `root`, by statement or by
    name.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    renamed = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom(level=level, module=module):
                package = path.relative_to(root).parts[:-1]
                if level > len(package):
                    yield node.lineno, LEAVES
                    continue
                around = package[: len(package) - level + 1] if level else ()
                start = ".".join([*around, *([module] if module else [])])
                yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
            case ast.Call(args=[ast.Constant(str(name)), *_]) if called(node, renamed) in BY_NAME:
                package = path.relative_to(root).parts[:-1]
                dots = len(name) - len(name.lstrip("."))
                around = package[: len(package) - dots + 1] if dots else ()
                yield node.lineno, ".".join([*around, name.lstrip(".")])


def within(name: str, packages: set[str]) -> bool:
    """Return whether `name` is one of `packages` or in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offences(folder: Path, forbidden: set[str], allowed: set[str], root: Path) -> list[str]:
    """Return `file:line: name` for each import below `folder` that is in `forbidden` and not in
    `allowed`.
    """
    return [
        f"{path.relative_to(root)}:{line}: {name}"
        for path in sources(folder)
        for line, name in imported(path, root)
        if name == LEAVES or (within(name, forbidden) and not within(name, allowed))
    ]


def toolkit_offences(app: Path) -> list[str]:
    """Return the imports of toolkit packages that are neither of the package itself, of `base` nor
    of a library. `base` imports none of the others.
    """
    own = packages(app)
    return [
        offence
        for part in sorted((app / "scaleout").iterdir())
        for offence in offences(part, own, {f"scaleout.{part.stem}", "scaleout.base"}, app)
    ]


def shop_offences(app: Path) -> list[str]:
    """Return the imports of `config` by the shop, by name too."""
    return offences(app / "shop", {"config"}, set(), app)


def test_a_toolkit_package_imports_nothing_of_this_project_but_itself_and_the_base() -> None:
    assert not toolkit_offences(APP)


def test_the_shop_does_not_import_config() -> None:
    assert not shop_offences(APP)


def gateway_offences(app: Path) -> list[str]:
    """Return the imports of the gateway's client that lead to its edge, or to its public face. Both
    read the settings.
    """
    allowed = {"scaleout.gateway.client", "scaleout.gateway.conf"}
    return offences(app / "scaleout/gateway/client", {"scaleout.gateway"}, allowed, app)


def test_the_client_of_the_gateway_does_not_import_its_edge() -> None:
    assert not gateway_offences(APP)


# What the toolkit's strings may not say: a service by itself, a task, a path or a table of the
# shop, or of `config`.
_NAMES = "|".join(sorted(SERVICES))
SHOPS = re.compile(
    rf"^({_NAMES}|storefront|shop)$|\b({_NAMES}|storefront|stateless|config|shop)\.[a-zA-Z]\w+"
    rf"|/api/({_NAMES})\b|\b({_NAMES}|stateless)_[a-z]+"
)
# Tokens name who signs them and who is meant: on the wire since the first release.
TOKENS = {("scaleout/identity/tokens.py", "users"), ("scaleout/identity/tokens.py", "shop")}


def names_of_the_shop(app: Path) -> list[str]:
    """Return `file:line: string` for each string of the toolkit, tests aside, that names a part of
    the shop.
    """
    return [
        f"{file}:{node.lineno}: {node.value}"
        for path in sources(app / "scaleout")
        if "tests" not in path.parts
        for file in [str(path.relative_to(app))]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and SHOPS.search(node.value)
        and (file, node.value) not in TOKENS
    ]


def test_the_toolkit_names_nothing_of_the_shop_not_even_in_a_string() -> None:
    assert not names_of_the_shop(APP)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("users", True), ("orders.tasks.handle", True), ("see /api/products/7", True), ("FROM users_user", True),
        ("orders.Order", True),
        ("config.pulse", True), ("users write on", False), ("the positions of users", False), ("a.config", False),
    ],
)  # fmt: skip
def test_the_rule_of_the_strings_fails_where_it_is_broken(tmp_path: Path, said: str, found: bool) -> None:
    (tmp_path / "scaleout/caching").mkdir(parents=True)
    (tmp_path / "scaleout/caching/broken.py").write_text(f"WORD = {said!r}")
    assert names_of_the_shop(tmp_path) == ([f"scaleout/caching/broken.py:1: {said}"] if found else [])


def test_every_package_is_known_to_these_rules() -> None:
    assert {"orders", "products", "users"} <= SERVICES
    assert {path.parent.name for path in APP.glob("*/__init__.py")} == {"config", "scaleout", "shop"}
    assert {path.parent.name for path in (APP / "scaleout").glob("*/__init__.py")} == TOOLKIT
    assert {path.parent.name for path in (APP / "shop").glob("*/__init__.py")} == SHOP


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from scaleout.health import probes", ["scaleout/caching/broken.py:1: scaleout.health.probes"]),
        ("from scaleout import health", ["scaleout/caching/broken.py:1: scaleout.health"]),
        ("import shop.users.models", ["scaleout/caching/broken.py:1: shop.users.models"]),
        ("from config import settings", ["scaleout/caching/broken.py:1: config.settings"]),
        ("import importlib\nimportlib.import_module('shop')", ["scaleout/caching/broken.py:2: shop"]),
        ("__import__('scaleout.health')", ["scaleout/caching/broken.py:1: scaleout.health"]),
        (
            "import_string('scaleout.health.ready')",
            ["scaleout/caching/broken.py:1: scaleout.health.ready"],
        ),
        (
            "from importlib import import_module as i\ni('shop')",
            ["scaleout/caching/broken.py:2: shop"],
        ),
        ("import_module('..health', __package__)", ["scaleout/caching/broken.py:1: scaleout.health"]),
        ("from ...shop import users", [f"scaleout/caching/broken.py:1: {LEAVES}"]),
        ("from ..health import probes", ["scaleout/caching/broken.py:1: scaleout.health.probes"]),
        ("from django.db import models\nfrom scaleout.caching import keys\nfrom . import keys", []),
        ("from scaleout.base import Conf\nfrom scaleout.base.conf import between", []),
    ],
)
def test_the_rule_of_the_toolkit_fails_where_it_is_broken(tmp_path: Path, code: str, found: list[str]) -> None:
    for package in ("config", "shop", "scaleout/caching", "scaleout/health"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "scaleout/caching/broken.py").write_text(code)
    assert toolkit_offences(tmp_path) == found


@pytest.mark.parametrize("file", ["__init__.py", "loose.py"])
def test_a_module_beside_the_packages_of_the_toolkit_follows_the_rule_too(tmp_path: Path, file: str) -> None:
    (tmp_path / "scaleout/health").mkdir(parents=True)
    (tmp_path / "scaleout" / file).write_text("from scaleout.health import probes\nfrom scaleout.base import Conf")
    assert toolkit_offences(tmp_path) == [f"scaleout/{file}:1: scaleout.health.probes"]


def test_the_rule_of_the_base_fails_where_it_is_broken(tmp_path: Path) -> None:
    for package in ("base", "health"):
        (tmp_path / "scaleout" / package).mkdir(parents=True)
    (tmp_path / "scaleout/base/broken.py").write_text("from scaleout.health import probes")
    assert toolkit_offences(tmp_path) == ["scaleout/base/broken.py:1: scaleout.health.probes"]


@pytest.mark.parametrize(
    ("file", "code", "found"),
    [
        ("shop/users/api.py", "from config import databases", ["shop/users/api.py:1: config.databases"]),
        ("shop/users/api.py", "from shop.orders import api\nfrom scaleout import caching", []),
        ("shop/users/tests/test_a.py", "from config import celery", ["shop/users/tests/test_a.py:1: config.celery"]),
    ],
)
def test_the_rule_of_the_shop_fails_where_it_is_broken(tmp_path: Path, file: str, code: str, found: list[str]) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(code)
    assert shop_offences(tmp_path) == found


@pytest.mark.parametrize(
    ("part", "code", "found"),
    [
        ("client", "from scaleout.gateway.edge import views", ["1: scaleout.gateway.edge.views"]),
        ("client", "from scaleout.gateway.edge.rate import Rate", ["1: scaleout.gateway.edge.rate.Rate"]),
        ("client", "from ..edge import views", ["1: scaleout.gateway.edge.views"]),
        ("client", "from scaleout import gateway", ["1: scaleout.gateway"]),
        ("client", "import importlib\nimportlib.import_module('scaleout.gateway')", ["2: scaleout.gateway"]),
        ("client", "import requests\nfrom scaleout.gateway.client import errors\nfrom . import budget", []),
        ("edge", "from scaleout.gateway.client import errors", []),
    ],
)
def test_the_rule_of_the_gateway_fails_where_it_is_broken(
    tmp_path: Path, part: str, code: str, found: list[str]
) -> None:
    for package in ("client", "edge"):
        (tmp_path / "scaleout/gateway" / package).mkdir(parents=True)
    (tmp_path / f"scaleout/gateway/{part}/broken.py").write_text(code)
    assert gateway_offences(tmp_path) == [f"scaleout/gateway/{part}/broken.py:{one}" for one in found]


def modules(root: Path) -> dict[str, Path]:
    """Return the Python files below `root` by the names that they are imported by."""
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
        for path in sources(root)
        for parts in [path.relative_to(root).with_suffix("").parts]
    }


def import_circle(root: Path) -> list[str]:
    """Return modules below `root` of which each imports the next, and the last is the first; or
    nothing. Imports inside of functions and for type checkers count.
    """
    known = modules(root)
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        prefixes = ([name.rsplit(".", n)[0] for n in range(name.count(".") + 1)] for _, name in imported(path, root))
        graph[module] = {next((one for one in names if one in known), module) for names in prefixes} - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]  # each is imported by the next
        return circle[::-1]
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not import_circle(APP)


@pytest.mark.parametrize(
    ("codes", "circle"),
    [
        (["import scaleout.b", "from scaleout import a"], ["a", "b"]),
        (["def later():\n    from scaleout.b import name", "from scaleout import a"], ["a", "b"]),
        (
            ["from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b", "from .a import name"],
            ["a", "b"],
        ),
        (["from . import b", "from . import c", "from . import a"], ["a", "b", "c"]),
        (["from . import b, c", "from . import c", "import scaleout"], []),
    ],
)
def test_the_rule_of_circles_fails_where_it_is_broken(tmp_path: Path, codes: list[str], circle: list[str]) -> None:
    (tmp_path / "scaleout").mkdir()
    (tmp_path / "scaleout/__init__.py").touch()
    for name, code in zip("abc", codes, strict=False):
        (tmp_path / f"scaleout/{name}.py").write_text(code)
    found = import_circle(tmp_path)
    assert sorted(set(found)) == [f"scaleout.{name}" for name in circle]
    assert found[:1] == found[len(circle) :]


def fork_hooks(app: Path) -> list[str]:
    """Return the files, but for the base's own, that register a function for after a fork."""
    own = app / "scaleout/base/forks.py"
    return [
        str(path.relative_to(app))
        for path in sources(app)
        if path != own and "register_at_fork" in path.read_text(encoding="utf-8")
    ]


def test_what_does_not_survive_a_fork_is_renewed_by_the_base() -> None:
    assert not fork_hooks(APP)


def test_the_rule_of_forks_fails_where_it_is_broken(tmp_path: Path) -> None:
    for package in ("base", "dns"):
        (tmp_path / "scaleout" / package).mkdir(parents=True)
        (tmp_path / "scaleout" / package / "forks.py").write_text("os.register_at_fork(after_in_child=print)")
    assert fork_hooks(tmp_path) == ["scaleout/dns/forks.py"]


def test_the_live_tests_import_nothing_of_the_app() -> None:
    assert not offences(TESTS, packages(APP) - packages(TESTS), set(), TESTS)


def test_the_app_imports_nothing_of_the_live_tests() -> None:
    assert not offences(APP, {"tests", "support"}, set(), APP)


def test_the_live_tests_import_no_django() -> None:
    assert not offences(TESTS, {"django", "celery"}, set(), TESTS)


# Django's own, and those of django-storages.
OTHERS = {"CACHES", "DATABASES", "DATA_UPLOAD_MAX_MEMORY_SIZE", "MEDIA_URL", "SECRET_KEY"}
SETTING = re.compile(r"""(?<![\w.])settings\.([A-Z_]+)|getattr\(settings, "([A-Z_]+)\"""")


def flat_settings(app: Path) -> list[str]:
    """Return `file: NAME` for each setting that the toolkit reads past its dictionaries, which
    `manage.py check` does not see.
    """
    return [
        f"{path.relative_to(app)}: {name}"
        for path in sources(app / "scaleout")
        if "tests" not in path.parts
        for found in SETTING.findall(path.read_text(encoding="utf-8"))
        for name in found
        if name and name not in OTHERS
    ]


def test_the_toolkit_reads_its_settings_from_its_dictionaries() -> None:
    assert not flat_settings(APP)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("settings.CDN_URL", ["CDN_URL"]), ('getattr(settings, "CDN_URL", "")', ["CDN_URL"]),
        ("settings.CACHES", []), ("conf().settings.X", []),
    ],
)  # fmt: skip
def test_the_rule_of_the_settings_fails_where_it_is_broken(tmp_path: Path, code: str, found: list[str]) -> None:
    (tmp_path / "scaleout/cdn").mkdir(parents=True)
    (tmp_path / "scaleout/cdn/broken.py").write_text(code)
    assert flat_settings(tmp_path) == [f"scaleout/cdn/broken.py: {name}" for name in found]


def _rows(role: str) -> dict[str, set[str]]:
    """Return the keys and channels of each user of a Redis, as its file has them."""
    lines = (ROOT / "redis" / f"{role}.users").read_text(encoding="utf-8").splitlines()
    rows = (line.partition(" ")[::2] for line in lines if line and not line.startswith("#"))
    return {user: set(re.findall(r"[~&][^\s()]+", rest)) for user, rest in rows}


def test_the_page_of_redis_lists_the_rights_of_each_user() -> None:
    page = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| (.*) \| (.*) \|$", page, re.MULTILINE)
    said = {user: [set(re.findall(r"`([~&][^`]+)`", cell)) for cell in cells] for user, *cells in rows}
    cache, queue = _rows("cache"), _rows("queue")
    assert said == {user: [cache.get(user, set()), queue.get(user, set())] for user in cache.keys() | queue.keys()}


def test_each_queue_has_one_worker_that_reads_it_and_no_other_reader() -> None:
    lines = (ROOT / "redis" / "queue.users").read_text(encoding="utf-8").splitlines()
    takers = [line for line in lines if "@@take" in line]
    own = [next(word for word in line.split() if word.startswith("~")) for line in takers]
    assert sorted(own) == ["~orders.*", "~shop.*", "~users.*"]
    words = {word for line in lines if not line.startswith("#") for word in line.split() if word.startswith("@@")}
    assert words == {"@@put", "@@take", "@@lengths", "@@figures"}
