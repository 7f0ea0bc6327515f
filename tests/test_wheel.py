"""The toolkit as a wheel: installed into a fresh environment beside a stock project, and used as
its README says.
"""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from support.pair import Pair
from support.settings import ROOT, TIME_FACTOR
from support.wait import eventually

TOOLKIT = ROOT / "app" / "scaleout"
README = (TOOLKIT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCTEST = (
    "import doctest, sys; sys.exit(doctest.testfile({!r}, module_relative=False, optionflags=doctest.ELLIPSIS).failed)"
)
LOOK = """
import time
from django.contrib.auth.models import User
from scaleout.replication import begin
for _ in range(100):
    begin()
    found = User.objects.first()._state.db
    if found == "replica1":
        break
    time.sleep(0.1)  # the watch looks at the servers in a thread
print(found)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def blocks(heading: str) -> list[tuple[str, str, str]]:
    """Return the blocks below a heading of the README: language, the file that it is for, text."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found, before = [], 0
    for match in BLOCK.finditer(section):
        files = re.findall(r"`([\w/]+\.py)`", section[before : match.start()])
        found.append((match[1], files[-1] if files else "", match[2]))
        before = match.end()
    return found


class Project:
    """A stock project, in an environment of its own."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self.folder, self.python, self._replaced = folder / "project", folder / "venv/bin/python", replaced
        self.folder.mkdir()
        self.run("-m", "django", "startproject", "mysite", ".")
        for package in ("notes", "notes/migrations"):
            (self.folder / package).mkdir()
            (self.folder / package / "__init__.py").touch()

    def run(self, *arguments: str) -> str:
        """Run Python in the project and return what it prints."""
        result = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=120 * TIME_FACTOR,
            check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if result.returncode:
            pytest.fail(f"{arguments}\n{result.stdout}\n{result.stderr}", pytrace=False)
        return result.stdout

    def manage(self, *arguments: str) -> str:
        return self.run("manage.py", *arguments)

    def write(self, heading: str) -> None:
        """Do what the README says to add and to write below this heading."""
        for language, file, text in blocks(heading):
            if language != "python":
                continue
            mine = text
            for old, new in self._replaced.items():
                mine = mine.replace(old, new)
            path = self.folder / file
            if path.name.startswith("0002"):
                self.manage("makemigrations", "notes")
            with path.open("a", encoding="utf-8") as opened:
                opened.write(mine)
        self.manage("check")

    def session(self, heading: str) -> None:
        """Run the session below this heading; it must print what stands there."""
        [text] = [text for language, _, text in blocks(heading) if language == "pycon"]
        file = self.folder / f"{heading}.txt"
        file.write_text(text, encoding="utf-8")
        self.manage("shell", "--verbosity", "0", "--command", DOCTEST.format(file.name))

    @contextmanager
    def started(self, *arguments: str) -> Iterator[None]:
        """Run a server of the project for a while."""
        log = (self.folder / "server.log").open("ab")
        server = subprocess.Popen([self.python, *arguments], cwd=self.folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            server.kill()
            server.wait()
            log.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the user postgres may enter too, with a short name: sockets stand in it."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    source = folder / "source"
    shutil.copytree(TOOLKIT, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=120 * TIME_FACTOR)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(folder: Path, wheel: Path) -> Path:
    """A fresh environment with the wheel. Its dependencies are those of this image: nothing is
    asked of a registry.
    """
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60 * TIME_FACTOR)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=60 * TIME_FACTOR)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    [packages] = venv.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(f"{here}\n")
    return venv


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[Pair]:
    found = Pair(folder)
    for name in ("mysite", "mysite_shard_0", "mysite_shard_1"):
        found.one.ask("postgres", f"CREATE DATABASE {name}")
    yield found
    found.end()


@pytest.fixture(scope="module")
def redis_port(folder: Path) -> Iterator[int]:
    port = free_port()
    command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually("Redis to answer", answers, within=10)
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def service() -> Iterator[int]:
    """A service that answers with the path that it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_readme_works_in_a_stock_project(
    folder: Path, environment: Path, pair: Pair, redis_port: int, service: int
) -> None:
    replaced = {
        "127.0.0.1:6379": f"127.0.0.1:{redis_port}",
        "127.0.0.1:8002": f"127.0.0.1:{service}",
        "pg-1,pg-2": f"{pair.one.folder},{pair.two.folder}",
        "pg-2,pg-1": f"{pair.two.folder},{pair.one.folder}",
    }
    project = Project(folder, replaced)
    where = project.run("-c", "import scaleout; print(scaleout.__file__)")
    assert where.startswith(str(environment))

    project.write("Caching")
    project.session("Caching")

    project.write("Replication")
    project.manage("migrate")
    project.session("Replication")
    assert project.manage("shell", "--verbosity", "0", "--command", LOOK) == "replica1\n"

    project.write("Sharding")
    for alias in ("default", "shard0", "shard1"):
        project.manage("migrate", "--database", alias)
    project.session("Sharding")
    counts = [pair.one.ask(f"mysite_shard_{number}", "SELECT count(*) FROM notes_author")[0][0] for number in (0, 1)]
    assert sum(map(int, map(str, counts))) == 20
    assert min(map(int, map(str, counts))) > 0

    project.write("Events")
    for alias in ("default", "shard0", "shard1"):
        project.manage("migrate", "--database", alias)
    with project.started("-m", "celery", "--app", "mysite", "worker", "--pool", "solo"):
        project.session("Events")
        made = "SELECT count(*) FROM auth_user WHERE username = 'Ada Lovelace'"
        eventually("the consumer to make the user", lambda: pair.one.ask("mysite", made) == [(1,)], within=30)
        left = [f"mysite_shard_{number}" for number in (0, 1)]
        eventually(
            "the outboxes to be empty",
            lambda: all(pair.one.ask(name, "SELECT count(*) FROM events_outbox") == [(0,)] for name in left),
            within=30,
        )

    project.write("Gateway")
    project.session("Gateway")
    port = free_port()
    options = ("--worker-class", "gthread", "--threads", "4", "--bind", f"127.0.0.1:{port}")
    with project.started("-m", "gunicorn", *options, "mysite.wsgi"):

        def ask(path: str) -> requests.Response:
            return requests.get(f"http://127.0.0.1:{port}{path}", timeout=10 * TIME_FACTOR)

        answer = eventually("the gateway to answer", lambda: ask("/api/stock/items?a=%2F"), within=30)
        assert (answer.status_code, answer.text) == (200, "/api/stock/items?a=%2F")
        assert ask("/api/none/").status_code == 404

    pair.two.stop()  # the standby is lost: reads continue
    print_count = "from django.contrib.auth.models import User; print(User.objects.count())"
    assert project.manage("shell", "--verbosity", "0", "--command", print_count) == "2\n"


def test_the_wheel_has_all_packages_their_types_and_no_tests(wheel: Path) -> None:
    files = subprocess.run(
        [sys.executable, "-m", "zipfile", "--list", str(wheel)], check=True, text=True, capture_output=True
    ).stdout
    packages = {
        ".".join(["scaleout", *path.parent.relative_to(TOOLKIT).parts])
        for path in TOOLKIT.rglob("__init__.py")
        if "tests" not in path.parts
    }
    listed = tomllib.loads((TOOLKIT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert set(listed) == packages
    for package in packages:
        assert f"{package.replace('.', '/')}/__init__.py " in files
    assert "scaleout/py.typed " in files
    assert "/tests/" not in files


def test_the_sources_are_in_the_python_that_the_package_asks_for() -> None:
    project = tomllib.loads((TOOLKIT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [minor] = re.findall(r"^>=3\.(\d+)$", project["requires-python"])
    for path in TOOLKIT.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, int(minor)))


def test_every_extra_asks_for_what_the_application_is_pinned_to() -> None:
    project = tomllib.loads((TOOLKIT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "app" / "requirements.in").read_text(encoding="utf-8").splitlines()
    asked = {one for extra in project["optional-dependencies"].values() for one in extra}
    names = {re.split(r"[~\[]", one)[0]: one.rpartition("~=")[2] for one in pinned if "~=" in one}
    for one in asked:
        name = re.split(r"[~\[]", one)[0]
        assert name in names, one
        assert one.rpartition("~=")[2] == names[name], one


@pytest.mark.parametrize("package", sorted(path.parent.name for path in TOOLKIT.glob("*/__init__.py")))
def test_each_package_has_a_public_face(package: str) -> None:
    tree = ast.parse((TOOLKIT / package / "__init__.py").read_text(encoding="utf-8"))
    faces = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert ast.get_docstring(tree)
    assert len(faces) == 1
    assert faces[0]


def settings_row(conf: Path) -> str:
    """Return the row of the README about the dictionary that a package's `conf.py` declares."""
    body = ast.parse(conf.read_text(encoding="utf-8")).body
    [form] = [node for node in body if isinstance(node, ast.ClassDef)]
    [name] = re.findall(r'^conf = Conf\("(\w+)", Settings\)$', conf.read_text(encoding="utf-8"), re.MULTILINE)
    keys: dict[bool, list[str]] = {True: [], False: []}
    for node in form.body:
        if isinstance(node, ast.AnnAssign):
            keys[node.value is None].append(f"`{ast.unparse(node.target).upper()}`")
    return f"| `{name}` | {', '.join(keys[True]) or '-'} | {', '.join(keys[False]) or '-'} |"


CONFS = sorted(path for path in TOOLKIT.glob("*/conf.py") if path.parent.name != "base")


def test_the_readme_names_every_setting() -> None:
    assert re.findall(r"^\| `[A-Z]+` \|.*$", README, re.MULTILINE) == [settings_row(path) for path in CONFS]


@pytest.mark.parametrize("conf", CONFS, ids=lambda path: path.parent.name)
def test_every_dictionary_of_settings_is_checked_and_has_a_test_of_that(conf: Path) -> None:
    assert "        conf.register()\n" in (conf.parent / "apps.py").read_text(encoding="utf-8")
    assert "complaints()" in (conf.parent / "tests/test_conf.py").read_text(encoding="utf-8")
