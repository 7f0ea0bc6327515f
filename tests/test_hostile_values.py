"""Values from make, the environment and .env are data: no target executes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.clone import Clone
from support.settings import ROOT

SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts").glob("*.sh")))
SETTINGS = set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(encoding="utf-8")))
TARGETS = re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"))
# All that the scripts read besides the settings, which tests/test_settings.py tries one by one.
# DOCKER_HOST and LB are refused before anything else is read; COMPOSE_PROFILES is one that the
# settings name.
NAMES = sorted(set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*):[-+?]", SCRIPTS)) - SETTINGS - {"DOCKER_HOST", "LB"})
ARITHMETIC = "a[$(touch {m})]=4"
# For a shell that gets it as it is or between quotes of either kind, and for sed.
SHELL = "1;touch {m};`touch {m}`|touch {m}'; touch {m}; \"; touch {m}; '|;1e touch {m};\n1e touch {m}"
MAKE = "$(shell touch {m})$$(touch {m})"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone of the set-up. Its guard stops a target where it would change something in the
    engine.
    """
    return Clone.make(tmp_path)


def test_the_list_of_what_is_read_is_not_empty() -> None:
    assert {"APP", "CMD", "ID", "MINUTES", "N", "NAME", "PACKAGE", "S", "SEED", "TAIL", "TESTS", "YES"} <= set(NAMES)
    assert {"up", "down", "deploy", "logs", "scale", "bench", "manage", "rotate-certs"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_runs_what_stands_in_a_variable(clone: Clone, target: str) -> None:
    marker = clone.guard / "marker"
    for value in (ARITHMETIC, SHELL):
        hostile = dict.fromkeys(NAMES, value.format(m=marker)) | {"COMPOSE_PROJECT_NAME": "no-stack"}
        clone.run("make", target, environment=hostile)
        assert not marker.exists(), value
    clone.run("make", target, *(f"{name}={MAKE.format(m=marker)}" for name in NAMES), "COMPOSE_PROJECT_NAME=no-stack")
    assert not marker.exists()


@pytest.mark.parametrize("target", ["up", "ps", "deploy", "rotate-certs"])
def test_no_target_runs_what_stands_in_env(clone: Clone, target: str) -> None:
    marker = clone.guard / "marker"
    for value in (ARITHMETIC, SHELL):
        text = value.format(m=marker).replace("$", "$$").replace('"', '\\"').replace("\n", "\\n")
        clone.write("".join(f'{name}="{text}"\n' for name in NAMES) + "COMPOSE_PROJECT_NAME=no-stack\n")
        clone.run("make", target)
        assert not marker.exists(), value
