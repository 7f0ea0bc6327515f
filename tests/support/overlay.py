"""A part of the stack with an overlay (compose.redis-*.yaml), during a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from support.restore import assert_at_rest
from support.settings import ROOT
from support.stack import Stack, run

UP = ("up", "--detach", "--wait", "--wait-timeout", "240", "--no-build")
PATIENCE = 240.0  # seconds until recreated containers are healthy


@contextmanager
def overlay(stack: Stack, name: str, servers: list[str], users: list[str]) -> Iterator[None]:
    """Start the `servers` of compose.<name>.yaml, then recreate the services `users` with it.

    Restore all at the end. The other services keep running unchanged.
    """
    files = ("-f", "compose.yaml", "-f", f"compose.{name}.yaml")
    added = set(servers) - set(stack.config["services"])
    try:
        # Without their dependencies, which already run.
        stack.compose(*files, *UP, "--no-deps", *servers, timeout=PATIENCE)
        stack.compose(*files, *UP, "--no-deps", *users, timeout=PATIENCE)
        yield
    finally:
        for one in stack.containers(*added, stopped=True):
            run("docker", "rm", "--force", "--volumes", one.id)
        stack.compose(*UP, timeout=PATIENCE)
        _forget(stack, name)
        assert_at_rest(stack)


def _forget(stack: Stack, name: str) -> None:
    """Remove the volumes of the overlay."""
    text = (ROOT / f"compose.{name}.yaml").read_text(encoding="utf-8")
    names = text.partition("\nvolumes:\n")[2].partition("\n\n")[0].replace(":", "").split()
    run("docker", "volume", "rm", "--force", *(f"{stack.project}_{one}" for one in names))
