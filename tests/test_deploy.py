"""`make deploy` of a release that cannot start, and of its repair."""

from __future__ import annotations

import pytest
from support.client import Site
from support.load import Load, assert_all_answered
from support.stack import CommandError, Stack, run

pytestmark = pytest.mark.failure

SECONDS = 600.0  # for one deploy


def deploy(**settings: str) -> str:
    return run("env", *(f"{name}={value}" for name, value in settings.items()), "make", "deploy", timeout=SECONDS)


def test_a_failed_deploy_keeps_the_old_replicas_and_the_next_one_works(stack: Stack, site: Site) -> None:
    before = {one.id for one in stack.containers("web")}
    with Load(site, ["/", "/api/products/?limit=5"], rate=10, threads=4) as readers:
        with pytest.raises(CommandError, match="the old containers stay"):
            deploy(WEB_THREADS="1000")  # more than config/settings.py takes
        assert {one.id for one in stack.containers("web", stopped=True)} == before
        deploy()
    assert_all_answered(readers)
    assert {one.id for one in stack.containers("web", stopped=True)} == before
