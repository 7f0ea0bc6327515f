"""docs/add-a-service.md, done in a copy of this work tree: the files are the page's own.

The quick part looks at the copy. The long one brings its stack up and calls the new service.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Site
from support.copy import Copy, copy_work_tree, free_ports
from support.prometheus import Prometheus
from support.services import Services, register
from support.settings import ROOT, TIME_FACTOR
from support.wait import eventually

PAGE = (ROOT / "docs" / "add-a-service.md").read_text(encoding="utf-8")
FIVE = {
    "app/shop/services/registry.py",
    "compose.yaml",
    "compose.redis-cluster.yaml",
    "compose.redis-sentinel.yaml",
    "SECURITY.md",
}
PACKAGE = "app/shop/reviews"
# Without the fixtures of the tests beside it, which want servers.
CHECKS = ("--noconftest", "app/config/tests/test_registry.py")
DOCUMENTS = ("-c", "tests/pytest.ini", "tests/test_layout.py", "tests/test_security.py")
# The scripts that the page's `make` would run in an image of the application.
MIGRATIONS = ("-m", "django", "makemigrations", "reviews", "--verbosity", "0")
START = 420.0  # seconds for a whole stack from nothing, its images from the build cache
SECONDS = 120.0


def python(copy: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, with the settings of the in-process tests."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=os.environ
        | {"PYTHONPATH": f"{copy}/app:{copy}/app/tests", "DJANGO_SETTINGS_MODULE": "config.test_settings"}
        | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS * TIME_FACTOR,
        check=False,
    )


def add_the_service(copy: Path) -> None:
    """Do what the page says: write the files of the package, apply the patch, make the
    migration.
    """
    files = re.findall(r"^`(app/[\w/.]+)`.*?:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == [f"{PACKAGE}/{name}.py" for name in ("__init__", "models", "api")]
    for name, text in files:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text, encoding="utf-8")
    [patch] = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    subprocess.run(["git", "apply", "-"], cwd=copy, input=patch, text=True, timeout=60, check=True)
    made = python(copy, *MIGRATIONS)
    assert made.returncode == 0, made.stdout
    assert (copy / PACKAGE / "migrations" / "0001_initial.py").exists()


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this work tree with the new service."""
    copy = tmp_path_factory.mktemp("added") / "copy"
    copy_work_tree(copy)
    add_the_service(copy)
    return copy


def test_a_new_service_changes_five_files_beside_its_package(added: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (path for path in added.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(root)) for path in found}

    changed = {
        name
        for name in files(added)
        if not (ROOT / name).exists() or not filecmp.cmp(ROOT / name, added / name, shallow=False)
    }
    assert {name for name in changed if not name.startswith(f"{PACKAGE}/")} == FIVE


def test_with_these_five_files_every_check_passes(added: Path) -> None:
    for arguments in (
        ("-m", "pytest", "-q", *CHECKS),
        ("-m", "pytest", "-q", *DOCUMENTS),
        ("-m", "django", "check"),
        (*MIGRATIONS, "--check", "--dry-run"),
    ):
        done = python(added, *arguments)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("forgotten", "check", "said"),
    [
        ("compose.yaml", CHECKS, "compose.yaml: there is no service reviews"),
        ("compose.yaml", CHECKS, "compose.yaml: x-main: reviews:reviews"),
        ("compose.redis-cluster.yaml", CHECKS, "compose.redis-cluster.yaml: add reviews: *app"),
        ("SECURITY.md", DOCUMENTS, "db_reviews_app"),
    ],
)
def test_a_check_says_what_was_forgotten(added: Path, forgotten: str, check: tuple[str, ...], said: str) -> None:
    whole = (added / forgotten).read_bytes()
    shutil.copy(ROOT / forgotten, added / forgotten)
    try:
        done = python(added, "-m", "pytest", "-q", *check)
    finally:
        (added / forgotten).write_bytes(whole)
    assert done.returncode == 1, done.stdout
    assert said in done.stdout


@pytest.fixture
def copied(request: pytest.FixtureRequest) -> Iterator[Copy]:
    """The stack of a copy with the new service, from nothing; removed afterwards, with its data."""
    root = ROOT / ".scale-out" / "test-added"  # where the engine sees it too
    names = ("HTTP_PORT", "HTTPS_PORT", "PROMETHEUS_PORT", "CDN_PORT")
    project = f"{os.environ.get('COMPOSE_PROJECT_NAME') or 'scale-out'}-added"
    made = Copy(root, {"COMPOSE_PROJECT_NAME": project, **dict(zip(names, free_ports(4), strict=True))})
    made.settings["WEB_REPLICAS"] = "1"
    if root.exists():  # of a run that was killed
        made.make("clean", check=False, timeout=120)
        shutil.rmtree(root)
    copy_work_tree(root)
    add_the_service(root)
    failed = request.session.testsfailed
    try:
        made.make("up", timeout=START)
        yield made
    finally:
        if request.session.testsfailed > failed:
            print(made.run("docker", "compose", "logs", "--tail", "40", "reviews", "web", "migrate", check=False))
        made.make("clean", check=False, timeout=120)
        shutil.rmtree(root)


@pytest.mark.long
def test_the_new_service_is_called_through_the_gateway(copied: Copy) -> None:
    site = Site(int(copied.settings["HTTP_PORT"]))
    writer = register(Services(users=site, products=site, orders=site))
    assert "/api/reviews/{review_id}" in site.get("/api/openapi.json").json()["paths"]

    missing = site.get("/api/reviews/1")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")
    assert missing.json()["detail"] == "There is no such review."

    review = {"product_id": 1, "text": "It holds."}
    assert site.post("/api/reviews/", json=review).status_code == 401
    made = site.post("/api/reviews/", json=review, headers=writer.headers)
    assert made.status_code == 201, made.text
    path = f"/api/reviews/{made.json()['id']}"
    after = {"X-Read-After": made.headers["X-Read-After"]}
    assert site.get(path, headers=after).json() == made.json() == made.json() | review | {"author_id": writer.id}

    prometheus = Prometheus(int(copied.settings["PROMETHEUS_PORT"]))
    wanted = {"web": 1, "users": 1, "products": 1, "orders": 1, "reviews": 1, "workers": 3}
    eventually(
        "Prometheus to scrape the new service beside the others",
        lambda: Counter(one["labels"]["job"] for one in prometheus.targets() if one["health"] == "up"),
        lambda seen: wanted.items() <= seen.items(),
        within=60,
    )
