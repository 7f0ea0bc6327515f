"""What runs by itself: the workflow, the proposals of newer versions, the hooks before a commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from support.settings import ROOT
from support.stack import run


def read(name: str) -> Any:
    """Return the content of a YAML file of the repository."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def folders(pattern: str) -> set[str]:
    """Return the folders of the files that git has or would take, as dependabot writes them."""
    listed = ("ls-files", "--cached", "--others", "--exclude-standard", pattern)
    return {f"/{Path(name).parent}" for name in run("git", "-c", f"safe.directory={ROOT}", *listed).split()}


def test_the_workflow_runs_all_of_ci_with_a_deadline_and_may_only_read() -> None:
    workflow = read(".github/workflows/ci.yaml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] == 90
    assert job["steps"][-1]["run"] == ".ci/run"
    assert "secrets." not in (ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8")


def test_newer_versions_are_proposed_for_every_dockerfile_and_every_list_of_packages() -> None:
    seen: dict[str, set[str]] = {}
    for update in read(".github/dependabot.yaml")["updates"]:
        places = update.get("directories") or [update["directory"]]
        seen.setdefault(update["package-ecosystem"], set()).update(places)
    assert seen == {
        "pip": {"/app", "/tests", "/app/scaleout"},
        "docker": folders("*Dockerfile"),
        "github-actions": {"/"},
    }
    assert folders("*requirements.in") | folders("*/pyproject.toml") == seen["pip"]


def test_the_hooks_run_the_pinned_tools_and_fetch_nothing() -> None:
    hooks = [hook for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in read(".pre-commit-config.yaml")["repos"]} == {"local"}
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "shellcheck", "hadolint"}
    assert all(hook["entry"].startswith("scripts/tools.sh ") for hook in hooks)
