"""`make dev` in a copy of this work tree, beside the running stack: edits show in two seconds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import requests
from support.client import BROWSER, Site
from support.copy import Copy, copy_work_tree, free_ports
from support.services import Services, place, register
from support.settings import ROOT, TIME_FACTOR
from support.wait import eventually

SOON = 5.0  # seconds until an edit shows: two on a quiet machine, the rest is for a busy one
START = 300.0  # seconds for images that are built from the cache, a new database and the demo's data
COMMAND = 60.0  # seconds for one command of Django's


@dataclass(frozen=True)
class Dev(Copy):
    """The development stack of the copy `root`."""

    seconds: list[tuple[str, float]] = field(default_factory=list)  # until an edit showed, at which path

    @property
    def site(self) -> Site:
        """The site, through its load balancer."""
        return Site(int(self.settings["HTTP_PORT"]))

    def logs(self, *services: str) -> str:
        """Return the ends of the logs."""
        return self.run("docker", "compose", "logs", "--no-color", "--tail", "60", *services, check=False)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the first `old` in a file of the copy."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    @contextlib.contextmanager
    def edited(self, path: str, old: str, new: str) -> Iterator[None]:
        """Edit a file, and restore it."""
        self.edit(path, old, new)
        try:
            yield
        finally:
            self.edit(path, new, old)

    def shows(self, path: str, accept: Callable[[requests.Response], bool]) -> requests.Response:
        """Assert that a browser soon gets an answer that `accept` accepts."""
        began = time.monotonic()
        answer = eventually(
            f"an answer of {path} that shows the change",
            lambda: self.site.get(path, headers={"Accept": BROWSER}, timeout=30 * TIME_FACTOR),
            accept,
            within=SOON,
            interval=0.05,
        )
        self.seconds.append((path, time.monotonic() - began))
        return answer


@pytest.fixture(scope="module")
def dev(request: pytest.FixtureRequest) -> Iterator[Dev]:
    """The development stack, from nothing; removed afterwards, with its data."""
    # Where the engine sees it too: the containers read the code from there.
    root = ROOT / ".scale-out" / "test-dev"
    names = ("HTTP_PORT", "HTTPS_PORT", "PROMETHEUS_PORT", "CDN_PORT")
    project = f"{os.environ.get('COMPOSE_PROJECT_NAME') or 'scale-out'}-dev"
    made = Dev(root, {"COMPOSE_PROJECT_NAME": project, **dict(zip(names, free_ports(4), strict=True))})
    if root.exists():  # of a run that was killed
        made.make("clean", check=False, timeout=120)
        shutil.rmtree(root)
    copy_work_tree(root)
    failed = request.session.testsfailed
    try:
        made.make("dev", timeout=START)
        yield made
    finally:
        if request.session.testsfailed > failed:  # shown with the last test
            print(made.logs())
        shown = ", ".join(f"{path} {seconds:.1f}" for path, seconds in made.seconds)
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\nseconds until an edit showed: {shown}")
        made.make("clean", check=False, timeout=120)
        shutil.rmtree(root)


VIEWS = "app/shop/storefront/views.py"


def test_an_edited_template_shows_at_the_next_request_although_the_page_is_cached(dev: Dev) -> None:
    assert "edited" not in dev.site.get("/").text
    assert dev.site.get("/").headers["X-Cache"] == "L1"
    dev.edit("app/shop/storefront/templates/storefront/base.html", "<title>", "<title>edited ")
    assert "<title>edited " in dev.shows("/", lambda answer: answer.status_code == 200).text


def test_an_edited_static_file_shows_at_the_next_request(dev: Dev) -> None:
    path = re.findall(r'"(/static/[^"]+[.]css)"', dev.site.get("/").text)[0]
    dev.edit("app/shop/storefront/static/storefront/shop.css", "{", "{ /* edited */")
    assert "/* edited */" in dev.shows(path, lambda answer: answer.status_code == 200).text


def test_an_edited_view_shows(dev: Dev) -> None:
    old = "    if request.method =="
    with dev.edited(
        "app/shop/shared_state/views.py", old, '    if request.GET:\n        return JsonResponse({"edited": 1})\n' + old
    ):
        assert dev.shows("/counter/?a=1", lambda answer: "edited" in answer.text).json() == {"edited": 1}
    dev.shows("/counter/?a=1", lambda answer: "count" in answer.text)


def test_an_edited_service_shows_through_the_gateway(dev: Dev) -> None:
    old = '"sku": product.sku'
    with dev.edited("app/shop/products/answers.py", old, '"sku": "edited-" + product.sku'):
        dev.shows("/api/products/?limit=1", lambda answer: answer.json()["items"][0]["sku"].startswith("edited-"))


def test_code_that_cannot_be_loaded_shows_its_traceback_until_it_is_repaired(dev: Dev) -> None:
    state = ["docker", "inspect", "--format", "{{.State.StartedAt}} {{.RestartCount}}"]
    web = dev.run("docker", "compose", "ps", "--quiet", "web").strip()
    started = dev.run(*state, web)
    for old, new, error in (
        ("def front(", "def front((", "SyntaxError"),
        ("from shop.storefront import pages", "from shop.storefront import pages, nothing", "ImportError"),
    ):
        with dev.edited(VIEWS, old, new):
            answer = dev.shows("/counter/", lambda answer: answer.status_code == 500)
            assert error in answer.text
            assert "/app/shop/storefront/views.py" in answer.text
        dev.shows("/counter/", lambda answer: answer.status_code == 200)
    assert dev.run(*state, web) == started


def test_an_error_of_a_page_shows_its_traceback_and_no_other_page_fails(dev: Dev) -> None:
    with dev.edited(VIEWS, "    return _answer(pages.front())", '    raise RuntimeError("out of beans")'):
        answer = dev.shows("/", lambda answer: answer.status_code == 500)
        assert "out of beans" in answer.text
        assert "Traceback" in answer.text
        assert dev.site.get("/counter/").status_code == 200
    dev.shows("/", lambda answer: answer.status_code == 200)
    with dev.edited("app/shop/storefront/templates/storefront/front.html", "{% ", "{% nothing %}{% "):
        assert "TemplateSyntaxError" in dev.shows("/", lambda answer: answer.status_code == 500).text
        assert dev.site.get("/counter/").status_code == 200
    dev.shows("/", lambda answer: answer.status_code == 200)


def test_a_model_with_its_migration_shows(dev: Dev) -> None:
    field = '    colour = models.CharField(max_length=20, db_default="green")\n'
    dev.edit("app/shop/shared_state/models.py", "    value = models", f"{field}    value = models")
    dev.edit(
        "app/shop/shared_state/views.py",
        "row.value if row else 0}",
        'row.value if row else 0, "colour": row.colour if row else ""}',
    )
    folder = dev.root / "app" / "shop" / "shared_state" / "migrations"
    before = set(folder.iterdir())
    assert "Add field colour to counter" in dev.make("migrations")
    (new,) = set(folder.iterdir()) - before
    assert new.stat().st_uid == folder.stat().st_uid
    assert dev.site.post("/counter/").status_code == 200  # the running code suits the old table
    assert dev.shows("/counter/", lambda answer: answer.status_code == 500).text.count("colour")
    dev.make("manage", "CMD=migrate")
    dev.shows("/counter/", lambda answer: answer.status_code == 200 and answer.json()["colour"] == "green")
    assert "No changes detected" in dev.make("migrations", "APP=stateless")


def test_an_application_that_has_no_migrations_yet_gets_its_first(dev: Dev) -> None:
    dev.make("manage", "CMD=startapp beans")
    dev.edit(
        "app/beans/models.py", "# Create", "class Bean(models.Model):\n    name = models.CharField(max_length=9)\n\n\n#"
    )
    dev.edit("app/config/settings.py", '    "shop.shared_state",\n', '    "shop.shared_state",\n    "beans",\n')
    dev.edit("app/config/databases.py", '"stateless", ', '"stateless", "beans", ')
    assert "Create model Bean" in dev.make("migrations")
    dev.make("manage", "CMD=migrate")
    code = "from beans.models import Bean; Bean.objects.create(name='x'); print(Bean.objects.count(), 'bean')"
    assert "1 bean" in dev.make("manage", f'CMD=shell -v 0 -c "{code}"')


def test_a_command_is_split_into_words_and_nothing_in_it_is_expanded(dev: Dev) -> None:
    marker = dev.root / "app" / "ran"
    said = f"$HOME $(touch {marker}) `touch {marker}` $$(shell touch {marker}) * ~"
    printed = dev.make("manage", f"CMD=shell -v 0 -c 'print(\"{said}\", 6 * 7)'")
    assert f"{said} 42" in printed
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("manage",), "error: which command? make manage CMD=help"),
        (("manage", 'CMD=shell -c "print(1)'), "error: CMD: No closing quotation"),
        (("manage", "CMD=check", "S=nginx"), "error: S=nginx: must be a service of app/, such as web or orders"),
        (
            ("migrations", "APP=a;b"),
            "error: APP=a;b: must be labels of applications, such as: make migrations APP=products",
        ),
    ],
)
def test_an_invalid_command_is_rejected_in_one_line(dev: Dev, arguments: tuple[str, ...], says: str) -> None:
    printed = dev.make(*arguments, check=False)
    assert [line for line in printed.splitlines() if not line.startswith("make: ***")] == [says]


def test_the_log_has_the_sql_of_the_requests(dev: Dev) -> None:
    dev.site.get("/search/?q=tent")
    assert "SELECT" in dev.logs("web")


def test_an_event_reaches_the_edited_consumer(dev: Dev) -> None:
    dev.edit("app/shop/orders/tasks.py", "    status = {", '    print("as edited", flush=True)\n    status = {')
    services = Services(dev.site, dev.site, dev.site)

    def confirmed() -> bool:
        who = eventually("a user", lambda: register(services), within=20)
        product = dev.site.get("/api/products/?limit=1").json()["items"][0]["id"]
        order = place(services, who, secrets.token_hex(8), [{"product_id": product, "quantity": 1}]).json()["id"]
        look = f"/api/orders/{order}"
        eventually(
            "the order to be confirmed",
            lambda: dev.site.get(look, headers=who.headers).json()["status"],
            lambda seen: seen == "confirmed",
            within=30,
        )
        return "as edited" in dev.logs("orders-worker")

    eventually("an order that the edited consumer has confirmed", confirmed, within=60)


def test_the_whole_stack_is_as_it_was(dev: Dev) -> None:
    """The whole stack has its own settings and data."""
    assert "compose.dev.yaml" not in (dev.root / ".env").read_text(encoding="utf-8")
    whole = json.loads(dev.run("docker", "compose", "config", "--format", "json"))
    kept = {volume["name"] for name, volume in whole["volumes"].items()}
    label = f"label=com.docker.compose.project={dev.settings['COMPOSE_PROJECT_NAME']}"
    used = set(dev.run("docker", "volume", "ls", "--quiet", "--filter", label).split())
    assert used
    assert not used & kept
