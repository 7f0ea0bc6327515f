"""`make up` on a running stack: it loses no request, and asks before it interrupts the site."""

from __future__ import annotations

import datetime
import os
import re
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from support.changes import APP, EDGE, INTERRUPTING, RELOADED, RENAMED, ROLLED
from support.client import Site
from support.load import Load, assert_all_answered
from support.restore import assert_at_rest
from support.settings import REPLICAS, ROOT, TIME_FACTOR
from support.stack import Stack, run
from support.wait import eventually

pytestmark = pytest.mark.failure

SECONDS = 900.0  # for one `make up` on a busy machine

NAMES = sorted(set(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)))


def make(*arguments: str, seconds: float = SECONDS, check: bool = True) -> str:
    """Run make as if no setting were in the environment, so that `.env` and the arguments
    decide.
    """
    unset = [word for name in (*NAMES, "LB", "YES") if name != "COMPOSE_PROJECT_NAME" for word in ("-u", name)]
    return run("env", *unset, "make", "--no-print-directory", *arguments, timeout=seconds, check=check)


def refused(*arguments: str, seconds: float = SECONDS) -> list[str]:
    """Run make, which must fail without a change; return its output."""
    output = make(*arguments, seconds=seconds, check=False)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output
    return output.splitlines()


class Environment:
    """`.env`, as a file that a person edits."""

    path = ROOT / ".env"

    def __init__(self) -> None:
        self.text = self.path.read_text(encoding="utf-8")

    def change(self, values: dict[str, str]) -> None:
        """Write the file with these values in place of its own."""
        kept = [line for line in self.text.splitlines() if line.partition("=")[0] not in values]
        lines = [*kept, *(f"{name}={value}" for name, value in values.items())]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def restore(self) -> None:
        """Restore the file."""
        self.path.write_text(self.text, encoding="utf-8")

    def value(self, name: str) -> str:
        """Return the value of `name` in the file now, empty where it has none."""
        found = re.findall(rf"^{name}=(.*)$", self.path.read_text(encoding="utf-8"), re.MULTILINE)
        return str(found[-1]) if found else ""


def _kept(stack: Stack) -> Iterator[Environment]:
    assert_at_rest(stack)
    environment = Environment()
    if environment.value("COMPOSE_PROJECT_NAME") != stack.project:
        pytest.skip(".env belongs to another stack of this clone")
    try:
        yield environment
    finally:
        environment.restore()
        make("up", "YES=1")
        assert_at_rest(stack)


@pytest.fixture
def environment(stack: Stack) -> Iterator[Environment]:
    """`.env` of the stack; afterwards both are restored."""
    yield from _kept(stack)


def ids(stack: Stack) -> set[str]:
    """Return the ids of all containers, the finished one-shots too."""
    return {one.id for one in stack.containers(stopped=True)}


def variables(stack: Stack, service: str) -> list[dict[str, str]]:
    """Return the environment of each container of `service`."""
    return [dict(word.split("=", 1) for word in one.details["Config"]["Env"]) for one in stack.containers(service)]


def callers(site: Site, product: int) -> tuple[Load, Load, Load]:
    """Return 50 requests a second: pages, the API, and POSTs."""
    longest = 3 * SECONDS
    return (
        Load(site, ["/", f"/products/{product}/", "/counter/"], rate=20, threads=4, longest=longest),
        Load(site, ["/api/products/?limit=5", f"/api/products/{product}"], rate=15, threads=3, longest=longest),
        Load(site, ["/counter/"], method="POST", rate=15, threads=3, longest=longest),
    )


def under(loads: tuple[Load, ...]) -> AbstractContextManager[ExitStack]:
    """Return all of `loads` as one block."""
    block = ExitStack()
    for one in loads:
        block.enter_context(one)
    return block


def read_by_the_load_balancer(stack: Stack) -> dict[str, str]:
    """Return the settings that it has at hand."""
    lines = stack.run_in(stack.load_balancer, "cat", "/etc/lb/settings").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def walked(stack: Stack) -> Iterator[Environment]:
    """`.env` for the groups of the walk; each group starts from the result of the previous one."""
    yield from _kept(stack)


@pytest.mark.parametrize("group", [1, 2, 0])  # 0: back to what it was
def test_each_setting_that_needs_no_interruption_is_applied_without_a_failed_request(
    stack: Stack, site: Site, product: int, walked: Environment, group: int
) -> None:
    port = int(walked.value("PROMETHEUS_PORT")) + 1
    loads = callers(site, product)
    front = stack.container(stack.load_balancer).id
    before = int(site.get("/counter/").json()["count"])
    wanted = {name: entry[1] for name, entry in ROLLED.items() if entry[0] == group}
    wanted |= {name: entry[1] for name, entry in RENAMED.items() if entry[0] == group}
    reloaded = {name: value for name, (number, value) in RELOADED.items() if number == group}
    extra = {"WEB_REPLICAS": "2", "PROMETHEUS_PORT": str(port)} if group == 1 else {}
    walked.change(wanted | reloaded | extra)
    with under(loads):
        make("up")
    assert_all_answered(*loads)
    assert int(site.get("/counter/").json()["count"]) - before == loads[2].answered()
    assert stack.container(stack.load_balancer).id == front
    for name, (number, value, services) in ROLLED.items():
        for service in services if number == group else ():
            assert {one[name] for one in variables(stack, service)} == {value}, f"{service}: {name}"
    for name, (number, value, services, inside) in RENAMED.items():
        for service in services if number == group else ():
            assert {one[inside] for one in variables(stack, service)} == {value}, f"{service}: {name}"
    assert read_by_the_load_balancer(stack).items() >= reloaded.items()
    assert len(stack.containers("web")) == (2 if group == 1 else REPLICAS)
    assert len(stack.containers("beat")) == 1
    if group == 1:
        assert Site(port).get("/-/ready").status_code == 200
        assert site.get("/", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("name", INTERRUPTING)
def test_an_interrupting_change_asks_first_and_changes_nothing(
    stack: Stack, environment: Environment, name: str
) -> None:
    value, says = INTERRUPTING[name]
    if name == "COMPOSE_PROFILES":
        value = "haproxy" if stack.load_balancer == "nginx" else "nginx"
    if name == "MEDIA_STORE_SECRET":
        (ROOT / value).write_text((ROOT / "secrets" / "media_store").read_text(encoding="utf-8"), encoding="utf-8")
    try:
        environment.change({name: value})
        written, running = environment.path.read_text(encoding="utf-8"), ids(stack)
        lines = refused("up")
    finally:
        (ROOT / "secrets" / "other_store").unlink(missing_ok=True)
    assert [line for line in lines if line.startswith("  - ") and says in line], lines
    assert "error: nothing was changed: YES=1 continues, as in: make up YES=1" in lines
    assert environment.path.read_text(encoding="utf-8") == written
    assert ids(stack) == running


def test_an_interrupting_change_of_a_running_edge_asks_too(stack: Stack, environment: Environment) -> None:
    run("docker", "compose", "--profile", "cdn", "up", "--detach", "--wait", "--no-recreate", "cdn", timeout=180)
    try:
        for name, value in EDGE.items():
            environment.change({name: value})
            running = ids(stack)
            assert [line for line in refused("up") if line.startswith("  - cdn: ")]
            assert ids(stack) == running
    finally:
        run("docker", "compose", "--profile", "cdn", "rm", "--stop", "--force", "cdn", timeout=120)


def test_a_setting_typed_with_the_command_is_consent(stack: Stack, environment: Environment) -> None:
    old = environment.value("HTTP_PORT")
    new = str(int(old) + 3)
    make("up", f"HTTP_PORT={new}")
    assert stack.published(stack.load_balancer, 8080) == int(new)
    assert Site(int(new)).get("/health/").status_code == 200
    assert environment.value("HTTP_PORT") == new


def test_a_new_container_that_never_becomes_healthy_leaves_every_old_one(
    stack: Stack, site: Site, product: int, environment: Environment
) -> None:
    before = {one.id for one in stack.containers(*APP, stopped=True)}
    keys = ROOT / "secrets" / "identity_users_public"
    good = keys.read_text(encoding="utf-8")
    loads = callers(site, product)
    environment.change({"LOG_LEVEL": "ERROR"})
    try:
        _replace(keys, "no key\n")  # what runs keeps the file that it was started with
        with under(loads):
            lines = refused("up")
    finally:
        _replace(keys, good)
    assert "error: nothing was replaced: the old containers stay" in lines
    assert "    a new container of users did not become healthy" in lines
    assert {one.id for one in stack.containers(*APP, stopped=True)} == before
    assert_all_answered(*loads)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(".replaced")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o444)
    new.rename(path)


# ── interrupted ───────────────────────────────────────────────────────────────────────────────────


def left(project: str) -> list[str]:
    """Return the processes that a command of this project has started and that still work."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            inside = path.read_bytes().split(b"\0")
            if f"SCALE_OUT_LOCK={project}".encode() in inside:
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has just ended, or belongs to another user
    return found


class Begun:
    """A command in a process group of its own; its lines are collected as they come."""

    def __init__(self, *command: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._collector = threading.Thread(target=self._collect)
        self._collector.start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Wait until it and all that writes to its output have ended; return its status."""
        status = self.process.wait(30 * TIME_FACTOR)
        self._collector.join(60 * TIME_FACTOR)
        assert not self._collector.is_alive(), "something that it has started still writes"
        return status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_make_up_leaves_no_process_and_the_next_one_continues(
    stack: Stack, site: Site, product: int, environment: Environment, number: signal.Signals
) -> None:
    loads = callers(site, product)
    environment.change({"LOG_LEVEL": "ERROR"})
    with under(loads):
        command = Begun("env", "-u", "LB", "-u", "HTTP_PORT", "make", "--no-print-directory", "up")
        eventually(
            "a new container beside the old ones",
            lambda: len(stack.containers("orders")),
            lambda seen: seen == 2,
            within=300,
            interval=0.05,
        )
        command.signal(number)
        if number == signal.SIGINT:
            eventually("no process that is left", lambda: left(stack.project), lambda seen: not seen, within=15)
            assert command.end() != 0
            assert [line for line in command.lines if line.startswith("interrupted: ")], command.lines
        make("up")
        assert command.end() != 0
    assert not left(stack.project)
    assert_all_answered(*loads)
    for service in APP:
        assert len(stack.containers(service, stopped=True)) == (REPLICAS if service == "web" else 1), service
        assert {one["LOG_LEVEL"] for one in variables(stack, service)} == {"ERROR"}, service


# ── one command at a time ─────────────────────────────────────────────────────────────────────────

HOLDER = "source scripts/lib.sh; load_settings; take_lock 'make deploy'; echo \"has $$\"; sleep 600; :"


@pytest.fixture
def holder() -> Iterator[tuple[Begun, str]]:
    """A command that changes the project `<project>-lock`, which has no container, and the argument
    that names it.
    """
    project = f"{Stack().project}-lock"
    held = Begun("env", f"COMPOSE_PROJECT_NAME={project}", "bash", "-euc", HOLDER)
    try:
        eventually("the lock to be taken", lambda: list(held.lines), within=10)
        assert held.lines[0] == f"has {held.process.pid}\n"
        yield held, f"COMPOSE_PROJECT_NAME={project}"
    finally:
        if left(project):
            held.signal(signal.SIGKILL)
        held.end()
        (ROOT / ".scale-out" / f"lock-{project}").unlink(missing_ok=True)


@pytest.mark.parametrize("command", [("up",), ("update",), ("deploy",), ("scale", "N=2"), ("down",), ("clean",)])
def test_a_second_command_fails_at_once_and_names_the_first(
    holder: tuple[Begun, str], command: tuple[str, ...]
) -> None:
    held, project = holder
    lines = refused(*command, project, seconds=20)
    assert lines[0] == (
        f"error: make deploy (process {held.process.pid}) is changing the stack {project.partition('=')[2]}:"
        " try again when it has ended"
    )


def test_a_killed_holder_leaves_no_lock_and_no_process(
    holder: tuple[Begun, str],
) -> None:
    held, project = holder
    held.process.kill()  # not what it has started
    held.process.wait(10)
    assert left(project.partition("=")[2])
    make("down", project, seconds=60)
    assert not left(project.partition("=")[2])


def test_another_project_is_not_held_up(holder: tuple[Begun, str]) -> None:
    make("down", f"{holder[1]}-other", seconds=60)


# ── the certificate ───────────────────────────────────────────────────────────────────────────────


def certify(folder: Path, name: str, days: int = 90, key: str = "key.pem") -> None:
    """Make `certificate.pem` and a key for `name`, signed by itself, in `folder`."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    new = folder / "new.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", f"/CN={name}", "-not_before", "20200101000000Z", "-not_after", f"{end:%Y%m%d%H%M%S}Z",
        "-keyout", str(folder / key), "-out", str(new),
    )  # fmt: skip
    new.rename(folder / "certificate.pem")


def served(site: Site) -> str:
    """Return the certificate that a new connection gets."""
    return ssl.get_server_certificate((site.host, site.port), timeout=5 * TIME_FACTOR).strip()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for certificates that this container and the scripts both see."""
    folder = ROOT / ".scale-out" / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_certificate_is_served_by_a_reload(
    site: Site, secure_site: Site, product: int, environment: Environment, folder: Path
) -> None:
    file = folder / "certificate.pem"
    loads = callers(site, product)
    environment.change({"TLS_CERTIFICATE": str(file), "TLS_KEY": str(folder / "key.pem")})
    with under(loads):
        certify(folder, "shop.example")
        output = make("up")
        assert served(secure_site) == file.read_text(encoding="ascii").strip()
        assert re.search(r"certificate: self-signed \(CN ?= ?shop\.example\), until \w+ +\d+ [\d:]+ \d{4} GMT", output)
        certify(folder, "shop.example", days=9)
        assert "has changed: make reload-lb serves it" in make("ps")
        make("reload-lb")
        assert served(secure_site) == file.read_text(encoding="ascii").strip()
        assert "warning: the certificate expires in 8 days" in make("ps")
    assert_all_answered(*loads)


@pytest.mark.parametrize("target", ["up", "reload-lb"])
def test_a_certificate_that_cannot_be_served_is_refused_before_anything_is_touched(
    stack: Stack, secure_site: Site, environment: Environment, folder: Path, target: str
) -> None:
    file, key = folder / "certificate.pem", folder / "key.pem"
    before, running = served(secure_site), ids(stack)

    def other_key() -> None:
        certify(folder, "shop.example", key="key.pem")
        certify(folder, "shop.example", key="another.pem")

    def expired() -> None:
        certify(folder, "shop.example", days=-1)

    def garbage() -> None:
        file.write_text("no certificate\n", encoding="ascii")

    cases: dict[str, Callable[[], object]] = {
        "does not belong": other_key,
        "expired": expired,
        "PEM": garbage,
        "no such file": file.unlink,
    }
    environment.change({"TLS_CERTIFICATE": str(file), "TLS_KEY": str(key)})
    for says, prepare in cases.items():
        prepare()
        error = next(line for line in refused(target) if line.startswith("error: "))
        assert says in error, error
        assert "TLS_" in error
    assert served(secure_site) == before
    assert ids(stack) == running


# ── what make says ────────────────────────────────────────────────────────────────────────────────


def test_make_ps_names_a_published_port_that_does_not_answer(broken: Stack) -> None:
    port = broken.published("prometheus", 9090)
    assert "does not answer" not in make("ps")
    broken.pause("prometheus")
    try:
        assert f"warning: port {port} of prometheus does not answer on 127.0.0.1: " in make("ps")
    finally:
        broken.start("prometheus")


def test_with_allowed_hosts_the_printed_commands_work(environment: Environment) -> None:
    environment.change({"ALLOWED_HOSTS": "shop.example,.www.example"})
    commands = [line.strip() for line in make("up").splitlines() if line.startswith("  curl ")]
    assert len(commands) == 3
    for command in commands:
        status = run("bash", "-c", f"{command} --silent --output /dev/null --write-out '%{{http_code}}'")
        assert status == "200", command


def test_make_bench_lists_the_benches_without_an_image() -> None:
    output = run("env", "PATH=/usr/bin:/bin", "DOCKER_HOST=unix:///nowhere", "make", "--no-print-directory", "bench")
    listed = re.findall(r"^  (\w+) +.* \(about \d+ min\)$", output, re.MULTILINE)
    assert sorted(listed) == sorted(
        path.stem for path in (ROOT / "bench" / "benches").glob("*.py") if path.stem != "__init__"
    )


@pytest.mark.parametrize("command", [("logs", "S"), ("scale", "N"), ("bench", "NAME"), ("trace", "ID"), ("up", "LB")])
def test_arguments_of_make_are_data(command: tuple[str, str]) -> None:
    marker = ROOT / ".scale-out" / "executed"
    for value in (
        f"$(shell touch {marker})",
        f"$(touch {marker})",
        f"`touch {marker}`",
        f"';touch {marker};'",
        f'";touch {marker};"',
    ):
        make(command[0], f"{command[1]}={value}", seconds=30, check=False)
        assert not marker.exists(), value
