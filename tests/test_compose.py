"""compose.yaml as a file: two stacks side by side, bad values, and what the profile chooses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import Site
from support.front import Spare, settings_file, spare_front
from support.probe import Probe
from support.settings import LOAD_BALANCERS, ROOT
from support.stack import CommandError, Stack, run
from support.wait import eventually

OTHER = {
    "COMPOSE_PROJECT_NAME": "other",
    "HTTP_PORT": "18080",
    "HTTPS_PORT": "18443",
    "PROMETHEUS_PORT": "19090",
    "CDN_PORT": "18090",
}


@pytest.fixture(scope="module")
def files() -> Stack:
    """The stack as files; nothing needs to run."""
    return Stack()


def test_two_stacks_side_by_side_share_no_name(files: Stack) -> None:
    mine, other = files.config, files.configured(**OTHER)
    for kind in ("networks", "volumes"):
        names = {entry["name"] for entry in mine[kind].values()}
        assert not names & {entry["name"] for entry in other[kind].values()}, kind
    images = {service["image"] for service in mine["services"].values()}
    assert not images & {service["image"] for service in other["services"].values()}
    assert not [name for name, service in other["services"].items() if "container_name" in service]


def test_two_stacks_side_by_side_share_no_port(files: Stack) -> None:
    def ports(config: dict[str, Any]) -> set[str]:
        return {port["published"] for service in config["services"].values() for port in service.get("ports", [])}

    assert ports(files.configured(**OTHER)) == {"18080", "18443", "19090", "18090"}


@pytest.mark.parametrize("front", LOAD_BALANCERS)
def test_a_profile_puts_one_load_balancer_in_front(front: str) -> None:
    services = run("docker", "compose", "--profile", front, "config", "--services").split()
    assert [name for name in LOAD_BALANCERS if name in services] == [front]


def test_every_dependency_has_a_condition(files: Stack) -> None:
    for name, service in files.config["services"].items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "", f"{name} -> {other}"


def test_every_setting_of_compose_is_explained_in_the_example() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) - {"COMPOSE_PROJECT_NAME"}
    explained = set(
        re.findall(r"^#?\s?([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    unexplained = used - explained
    assert not unexplained


def test_every_copy_into_an_image_sets_the_mode() -> None:
    # A clone made under umask 077 has files that no other user may read, and no container runs as
    # root.
    dockerfiles = sorted(ROOT.glob("*/Dockerfile"))
    copies = [
        f"{path.parent.name}: {line}"
        for path in dockerfiles
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("COPY ", "ADD ")) and "--from=" not in line
    ]
    assert len(copies) > 10
    assert not [line for line in copies if not re.search(r" --chmod=[67][45][45] ", line)]


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("load balancer", "LB_METHOD=fastest"),
        ("load balancer", "MAX_BODY_BYTES=much"),
        ("load balancer", "LB_UPSTREAMS=web=lots"),
        ("web", "DEBUG=maybe"),
        ("web", "WEB_WORKERS=0"),
        ("web", "DRAIN_SECONDS=-1"),
        ("web", "LOG_LEVEL=loud"),
        ("worker", "WORKER_PROCESSES=none"),
        ("users", "IDENTITY_KEY_FILE=/run/secrets/redis_cache"),
        ("users", "IDENTITY_KEY_FILE=/run/secrets/identity_users_public"),
        ("products", "IDENTITY_USERS_KEYS_FILE=/run/secrets/missing"),
        ("orders", "WEB_THREADS=0"),
        ("web", "CDN_URL=https://cdn.example.com/path"),
        ("web", "CDN_TAG_HEADER=Tags"),
        ("products", "CDN_PURGE_URL=cdn"),
        ("web", "AWS_S3_CUSTOM_DOMAIN=https://media.shop.example"),
        ("products", "MEDIA_UPLOAD_URL=bucket"),
        ("products", "AWS_S3_ENDPOINT_URL=swift:8080"),
    ],
)
def test_a_bad_value_stops_the_service_with_one_clear_line(stack: Stack, service: str, setting: str) -> None:
    name, mount = service, ("--env", setting)
    if service == "load balancer":
        name, mount = stack.load_balancer, ("--volume", f"{settings_file(setting)}:/etc/lb/settings:ro")
    with pytest.raises(CommandError) as refusal:
        stack.compose("run", "--rm", "--no-deps", "--no-TTY", *mount, name)
    printed = str(refusal.value)
    assert "exit 64" in printed
    variable, _, value = setting.partition("=")
    lines = printed.splitlines()[1:]
    assert len(lines) == 1, printed
    assert variable in lines[0]
    assert value in lines[0]


@pytest.fixture(scope="module")
def other(stack: Stack, probe: Probe) -> Iterator[Spare]:
    """A second, unpublished load balancer."""
    with spare_front(stack, probe) as found:
        yield found


@pytest.fixture
def spare(other: Spare, request: pytest.FixtureRequest) -> str:
    """The address of the second load balancer, which has only the setting of the test."""
    other.set(request.param)
    return other.address


@pytest.mark.parametrize("spare", ["ALLOWED_HOSTS=shop.example,www.shop.example"], indirect=True)
def test_an_unknown_host_is_refused_where_the_hosts_are_set(spare: str, probe: Probe) -> None:
    def status(host: str) -> str:
        options = ("--output", "/dev/null", "--write-out", "%{http_code}", "--header", f"Host: {host}")
        return probe.curl(f"http://{spare}:8080/health/live", *options)

    assert status("shop.example") == "200"
    assert status("www.shop.example:8080") == "200"
    for host in ("evil.example", "127.0.0.1", "shop.example.evil.example", "xshop.example"):
        assert status(host) in ("400", "421"), host


# A replica of another release: healthy, without the static files of this release.
_OTHER_RELEASE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200 if self.path.startswith("/health/") else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


@pytest.fixture
def other_release(stack: Stack) -> Iterator[None]:
    """One such replica, by the name `other-release`."""
    tools = os.environ.get("TOOLS_IMAGE", f"{stack.project}-tools")
    network = ("--network", f"{stack.project}_front", "--network-alias", "other-release")
    identifier = run("docker", "run", "--detach", "--init", *network, tools, "python3", "-c", _OTHER_RELEASE).split()[
        -1
    ]
    try:
        yield
    finally:
        run("docker", "rm", "--force", identifier)


@pytest.mark.parametrize("spare", ["LB_UPSTREAMS=web=1,other-release=1"], indirect=True)
def test_a_static_file_that_one_release_lacks_comes_from_another(
    other_release: None, spare: str, probe: Probe, stack: Stack, site: Site
) -> None:
    if stack.load_balancer == "haproxy":
        pytest.skip("HAProxy does not remember whom it has asked: docs/cdn.md")
    page = site.get("/", headers={"Accept": "text/html"}).text
    path = re.findall(r'"(/static/[^"]+[.]css)"', page)[0]

    def statuses(path: str) -> set[str]:
        urls = [f"http://{spare}:8080{path}"] * 40
        options = ("--header", "Host: shop.example", "--write-out", "%{http_code}\n", *["--output", "/dev/null"] * 40)
        return set(probe.curl(*urls, *options).split())

    eventually("both releases", lambda: statuses("/counter/"), lambda seen: seen == {"200", "404"}, within=15)
    assert statuses(path) == {"200"}
    assert statuses("/static/nothing.0123456789ab.css") == {"404"}


@pytest.mark.parametrize(
    "spare",
    ["LB_METHOD=round_robin", "LB_METHOD=least_conn", "LB_METHOD=ip_hash", "LB_METHOD=weighted"],
    indirect=True,
)
def test_each_balancing_method_serves(spare: str, probe: Probe, stack: Stack, request: pytest.FixtureRequest) -> None:
    method = request.node.callspec.params["spare"].partition("=")[2]
    url = f"http://{spare}:8080/counter/"
    replicas = stack.replica_names()

    def served() -> set[str]:
        heads = probe.curl(url, *(["--fail", "--dump-header", "/dev/stderr", "--output", "/dev/null", url] * 29)[:-1])
        names = re.findall(r"(?im)^x-served-by: (\S+)", heads)
        assert len(names) >= 29
        return set(names)

    # It finds the replicas one after the other, and leaves out one that stands still.
    if method == "ip_hash":
        eventually("one replica for one caller", served, lambda names: len(names) == 1, within=15)
    else:
        eventually("every replica", served, lambda names: names == replicas, within=15)
