"""The steps of docs/caching.md "In another project", in a new project with its own Redis."""

from __future__ import annotations

import ast
import doctest
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.settings import ROOT, TIME_FACTOR
from support.wait import eventually

PAGE = (ROOT / "docs" / "caching.md").read_text(encoding="utf-8")
STEPS = PAGE.split("## In another project")[1].split("\n## ")[0]
BLOCKS = [
    (language, textwrap.dedent(text))
    for language, text in re.findall(r"^ *```(\w+)\n(.*?)^ *```$", STEPS, re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """The test's own Redis."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
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


def python(folder: Path, *arguments: str) -> str:
    """Run Python in `folder` and return what it prints."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=60 * TIME_FACTOR,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_steps_work_in_a_new_project(tmp_path: Path, redis_port: int) -> None:
    python(tmp_path, "-m", "django", "startproject", "mysite", ".")
    toolkit, copied = ROOT / "app" / "scaleout", tmp_path / "scaleout"
    for package in ("base", "caching"):  # all that the wheel's extra `caching` needs
        shutil.copytree(toolkit / package, copied / package, ignore=shutil.ignore_patterns("tests"))
    settings, front, model, config = [text for language, text in BLOCKS if language == "python"]
    settings, found = re.subn(r"127\.0\.0\.1:6379", f"127.0.0.1:{redis_port}", settings)
    assert found == 1
    with (tmp_path / "mysite" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(settings + 'INSTALLED_APPS += ["shop.apps.ShopConfig"]\n')
    (tmp_path / "front.py").write_text(front, encoding="utf-8")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    imports = "from django.db import models\nfrom scaleout.caching import CachingQuerySet\n"
    (tmp_path / "shop" / "models.py").write_text(imports + model, encoding="utf-8")
    ready = config.replace(
        "        bind(", "        from scaleout.caching import bind\n        from .models import Product\n        bind("
    )
    head = "from django.apps import AppConfig\n"
    (tmp_path / "shop" / "apps.py").write_text(
        head + ready.replace("(AppConfig):\n", '(AppConfig):\n    name = "shop"\n'), encoding="utf-8"
    )
    python(tmp_path, "manage.py", "check")
    [session] = [text for language, text in BLOCKS if language == "pycon"]
    examples = doctest.DocTestParser().get_examples(session)
    assert len(examples) == 7
    (tmp_path / "session.txt").write_text(session, encoding="utf-8")
    check = "import doctest, sys; sys.exit(doctest.testfile('session.txt', module_relative=False).failed)"
    python(tmp_path, "manage.py", "shell", "--command", check)
    change = (
        "from front import front; from shop.models import Product; from django.db import connection\n"
        "with connection.schema_editor() as editor: editor.create_model(Product)\n"
        "front(); front(); Product.objects.create(); front()"
    )
    # The first two read values from Redis that the session has stored.
    assert python(tmp_path, "manage.py", "shell", "--verbosity", "0", "--command", change) == "computing\n"


def test_the_package_is_written_in_the_python_that_the_page_names() -> None:
    [minor] = re.findall(r"It needs Python 3\.(\d+)", STEPS)
    for path in (ROOT / "app" / "scaleout" / "caching").rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, int(minor)))
