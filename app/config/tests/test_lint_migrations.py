"""The migration linter refuses what the release that still runs cannot live with."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import TIME_FACTOR

from config.lint_settings import BY_HAND, MIGRATION_LINTER_OPTIONS

APP = Path(__file__).resolve().parents[2]
SETTINGS = """
from config.lint_settings import *
from config.lint_settings import DATABASE_APPS, INSTALLED_APPS
INSTALLED_APPS = [*INSTALLED_APPS, "depot"]
DATABASE_APPS = DATABASE_APPS | {"default": DATABASE_APPS["default"] | {"depot"}}
"""
MIGRATION = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

class Migration(migrations.Migration):
    atomic = "Concurrently" not in %(operation)r
    dependencies = %(after)r
    operations = [%(operation)s]
"""
FIRST = """migrations.CreateModel("Box", [
    ("id", models.BigAutoField(primary_key=True)),
    ("name", models.TextField(null=True)),
    ("size", models.IntegerField()),
    ("old", models.IntegerField(null=True)),
])"""
GOOD = {
    "null": 'migrations.AddField("box", "colour", models.TextField(null=True))',
    "db_default": 'migrations.AddField("box", "weight", models.IntegerField(db_default=0))',
    "concurrently": 'AddIndexConcurrently("box", models.Index(fields=["size"], name="box_size"))',
    "new_table": 'migrations.CreateModel("Lid", [("id", models.BigAutoField(primary_key=True))])',
}
BAD = {
    "not_null": 'migrations.AddField("box", "count", models.IntegerField(default=0))',
    "set_not_null": 'migrations.AlterField("box", "name", models.TextField())',
    "type": 'migrations.AlterField("box", "size", models.BigIntegerField())',
    "index": 'migrations.AddIndex("box", models.Index(fields=["name"], name="box_name"))',
    "drop_index": 'migrations.RemoveIndex("box", "box_name")',
    "unique": 'migrations.AddConstraint("box", models.UniqueConstraint(fields=["name"], name="box_once"))',
    "rename": 'migrations.RenameField("box", "size", "height")',
    "remove": 'migrations.RemoveField("box", "old")',
    "rename_table": 'migrations.RenameModel("Box", "Case")',
    "delete": 'migrations.DeleteModel("Case")',
}


def lint(folder: Path, settings: str) -> subprocess.CompletedProcess[str]:
    """Run the linter as scripts/lint.sh does, with the modules in `folder` too."""
    return subprocess.run(
        [sys.executable, "manage.py", "lintmigrations"],
        cwd=APP,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": f"{APP}:{folder}"},
        text=True,
        capture_output=True,
        timeout=60 * TIME_FACTOR,
        check=False,
    )


def refused(answer: subprocess.CompletedProcess[str]) -> set[tuple[str, str]]:
    """Return the application and the name of each migration that the linter refuses."""
    return set(re.findall(r"^\((\w+), (\w+)\)\.\.\. ERR$", answer.stdout, re.MULTILINE))


def test_every_migration_of_this_project_suits_the_running_release(tmp_path: Path) -> None:
    answer = lint(tmp_path, "config.lint_settings")
    assert (answer.returncode, refused(answer)) == (0, set()), answer.stdout + answer.stderr


def test_the_linter_refuses_each_kind_of_bad_migration_and_no_good_one(tmp_path: Path) -> None:
    migrations = tmp_path / "depot/migrations"
    migrations.mkdir(parents=True)
    (tmp_path / "depot_settings.py").write_text(SETTINGS, encoding="utf-8")
    for package in (migrations.parent, migrations):
        (package / "__init__.py").touch()
    names = ["0001_first"]
    (migrations / "0001_first.py").write_text(MIGRATION % {"operation": FIRST, "after": []}, encoding="utf-8")
    for kind, operation in (GOOD | BAD).items():
        text = MIGRATION % {"operation": operation, "after": [("depot", names[-1])]}
        names.append(f"{len(names) + 1:04}_{kind}")
        (migrations / f"{names[-1]}.py").write_text(text, encoding="utf-8")
    answer = lint(tmp_path, "depot_settings")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    bad = {name.partition("_")[2] for application, name in refused(answer) if application == "depot"}
    assert bad == BAD.keys(), answer.stdout


def test_the_baseline_names_one_migration_each() -> None:
    for name in MIGRATION_LINTER_OPTIONS["ignore_name"]:
        assert len(list(APP.rglob(f"migrations/{name}.py"))) == 1, name


def is_by_hand(code: str) -> bool:
    """Return whether a migration has operations to be read: SQL, Python, or a
    constraint of a table that it does not create.
    """
    found: dict[str, set[str]] = {"CreateModel": set(), "AddConstraint": set()}
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(attr="RunSQL" | "RunPython") | ast.Name(id="RunSQL" | "RunPython")):
                return True
            case ast.Call(func=ast.Attribute(attr="CreateModel" | "AddConstraint" as kind)):
                given = [one.value for one in node.keywords if one.arg in ("name", "model_name")] or node.args[:1]
                found[kind] |= {str(one.value).lower() for one in given if isinstance(one, ast.Constant)}
    return not found["AddConstraint"] <= found["CreateModel"]


def test_each_migration_that_the_linter_cannot_judge_is_named_with_its_reason() -> None:
    files = APP.rglob("migrations/[0-9]*.py")
    assert {one.stem for one in files if is_by_hand(one.read_text(encoding="utf-8"))} == BY_HAND.keys()


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        ("migrations.RunSQL('drop table \"old\"')", True),
        ("migrations.RunPython(delete)", True),
        ("migrations.SeparateDatabaseAndState([migrations.RunSQL('TRUNCATE a')])", True),
        ("migrations.AddConstraint('box', check)", True),
        ("migrations.CreateModel('Box', []), migrations.AddConstraint(model_name='box', constraint=check)", False),
        ("migrations.AddField('box', 'old', field)", False),
    ],
)
def test_the_rule_of_what_the_linter_cannot_judge_fails_where_it_is_broken(operation: str, found: bool) -> None:
    assert is_by_hand(operation) == found
