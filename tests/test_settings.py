"""Settings: read as by Compose, checked before any change, and written back completely."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.changes import EDGE, INTERRUPTING, OTHERWISE, RELOADED, RENAMED, ROLLED
from support.clone import Clone
from support.settings import ROOT

EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DEMO = dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE))
NAMES = tuple(DEMO)
ADDRESS = "must be an address such as https://cdn.example.com, without a path"
STORE = "must be an address such as https://s3.example.com or https://s3.example.com/shop-media"
UPSTREAMS = "must be service=weight[,service=weight...], each service once, a weight from 1 to 256"
NETWORKS = "must be addresses or networks such as 192.0.2.0/24, separated by commas, and not all addresses"
HOSTS = "must be host names, .domains or *, separated by commas"
SERVERS = "must be host names in small letters, separated by commas"
LEVELS = "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
NO_FILE = "must be the path of a file that can be read: {} is none"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone of the set-up that has no .env yet."""
    return Clone.make(tmp_path)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates with their keys, right ones and wrong ones."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str, *dates: str) -> None:
        new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        subprocess.run([*new, *files, "-subj", "/CN=localhost", *dates], cwd=folder, check=True, capture_output=True)

    make("good", "-days", "30")
    make("other", "-days", "30")
    make("expired", "-not_before", "20200101000000Z", "-not_after", "20210101000000Z")
    make("early", "-not_before", "20900101000000Z", "-not_after", "20910101000000Z")
    locked = ("openssl", "ec", "-in", "good.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    subprocess.run(locked, cwd=folder, check=True, capture_output=True)
    (folder / "empty.pem").touch()
    (folder / "text.pem").write_text("no certificate\n", encoding="utf-8")
    (folder / "words").write_text("two words\n", encoding="utf-8")
    (folder / "private").write_text("secret\n", encoding="utf-8")
    (folder / "private").chmod(0o600)
    return folder


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of `result` that say what is wrong."""
    return [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]


def refused(clone: Clone, *command: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Run make, which must fail without a change, and return its error lines."""
    before = clone.files()
    result = clone.run("make", "--no-print-directory", *(command or ("up",)), environment=environment)
    assert result.returncode == 2, result.stdout + result.stderr  # of make: its script has failed
    assert "Error 1" in result.stderr, result.stderr
    assert not clone.touched(), clone.touched()
    assert clone.files() == before
    said = [line for line in result.stderr.splitlines() if not line.startswith(("make: ", "note: "))]
    assert said == [f"error: {line}" for line in errors(result)], result.stderr
    assert said, result.stderr
    return errors(result)


# One wrong line each, and what is said of it. {c} is the folder with the certificates.
WRONG = [
    ("COMPOSE_PROJECT_NAME=My Shop", "must be small letters, digits, and - or _ between them"),
    ("COMPOSE_PROJECT_NAME=shop_", "must be small letters, digits, and - or _ between them"),
    ("COMPOSE_FILE=compose.yaml:compose.mine.yaml", NO_FILE.format("compose.mine.yaml")),
    ("COMPOSE_PROFILES=apache", "must be nginx or haproxy"),
    ("HTTP_PORT=http", "must be a port number from 1 to 65535"),
    ("HTTPS_PORT=65536", "must be a port number from 1 to 65535"),
    ("CDN_PORT=08090", "must be a port number from 1 to 65535"),
    ("LB_METHOD=foo", "must be one of round_robin, least_conn, ip_hash, weighted"),
    ("LB_UPSTREAMS=web=257", UPSTREAMS),
    ("LB_UPSTREAMS=web=1,web=2", UPSTREAMS),
    ("LB_UPSTREAMS=web=1,", UPSTREAMS),
    ("LB_UPSTREAMS=web=1,wbe=1", "the Compose files have no service wbe"),
    ("CANARY_IMAGE=Shop Image", "must be the name of an image, such as shop:2.1"),
    ("ALLOWED_HOSTS=https://shop.example", HOSTS),
    ("TRUSTED_PROXIES=0.0.0.0/0", NETWORKS),
    ("TRUSTED_PROXIES=10.0.0.0/33", NETWORKS),
    ("TRUSTED_PROXIES=2001:db8::/129", NETWORKS),
    ("CLIENT_ADDRESS=X-Real-IP", "must be one of x-forwarded-for, cf-connecting-ip, proxy-protocol"),
    ("HTTPS_ONLY=yes", "must be 0 or 1"),
    ("REGISTRATION_LIMIT=-1", "must be a whole number from 0 to 1000000"),
    ("REGISTRATION_TELLS=no", "must be 0 or 1"),
    ("PROMETHEUS_PORT=0", "must be a port number from 1 to 65535"),
    ("TLS_CERTIFICATE=none.pem", NO_FILE.format("none.pem")),
    ("TLS_KEY=none.key", NO_FILE.format("none.key")),
    ("MAX_BODY_BYTES=1023", "must be a whole number of bytes from 1024 to 1073741824"),
    ("CDN_URL=https://cdn.example.com/path", ADDRESS),
    ("CDN_PURGE_URL=cdn", ADDRESS),
    ("AWS_CLOUDFRONT_DOMAIN=https://cdn.example.net", "must be a host name such as d111111abcdef8.cloudfront.net"),
    ("CDN_TAG_HEADER=Tags", "must be one of Surrogate-Key, Cache-Tag"),
    ("CDN_MEMORY_MB=64M", "must be a whole number of megabytes from 1 to 99999"),
    ("WEB_REPLICAS=21", "must be a whole number from 1 to 20"),
    ("WEB_WORKERS=auto", "must be a whole number from 1 to 64"),
    ("WEB_THREADS=65", "must be a whole number from 1 to 64"),
    ("SERVICE_WORKERS=0", "must be a whole number from 1 to 64"),
    ("SERVICE_THREADS=-4", "must be a whole number from 1 to 64"),
    ("POOL_SIZE=four", "must be a whole number from 1 to 100"),
    ("REPLICATION_GUARD=on", "must be 0 or 1"),
    ("RATE_LIMIT=6000/m", "must be a whole number from 0 to 1000000"),
    ("DRAIN_SECONDS=41", "must be a whole number of seconds from 0 to 40"),
    ("EXPOSE_TOPOLOGY=true", "must be 0 or 1"),
    ("REQUIRE_IF_MATCH=yes", "must be 0 or 1"),
    ("SECURE_COOKIES=2", "must be 0 or 1"),
    ("OLD_SESSIONS=old", "must be 0 or 1"),
    ("DEBUG=yes", "must be 0 or 1"),
    ("LOG_LEVEL=chatty", LEVELS),
    ("SWIFT_REPLICAS=2", "must be 0 or 1"),
    ("AWS_S3_ENDPOINT_URL=swift:8080", STORE),
    ("AWS_S3_REGION_NAME=eu central", "must be the name of a region, such as eu-central-1"),
    ("AWS_S3_ADDRESSING_STYLE=host", "must be one of path, virtual, auto"),
    ("AWS_STORAGE_BUCKET_NAME=Media", "must be a bucket's name: 3 to 63 small letters, digits, - and ."),
    ("AWS_ACCESS_KEY_ID=two words", "must be an access key: letters, digits and :._/+=@-"),
    ("AWS_S3_CUSTOM_DOMAIN=https://media.shop.example", "must be a host name such as media.shop.example"),
    ("MEDIA_UPLOAD_URL=bucket", STORE),
    ("MEDIA_STORE_SECRET=secrets/none", NO_FILE.format("secrets/none")),
    ("MEDIA_STORE_SECRET={c}/words", "must be a file that holds one word"),
    ("MEDIA_STORE_SECRET={c}/private", "must be a file that other users may read: chmod o+r"),
    ("EXTRA_REPLICAS=postgres-4,", SERVERS),
    ("EXTRA_REPLICAS=postgres-3", "postgres-3 is in use already"),
    ("EXTRA_SHARDS=shard-3 shard-4", SERVERS),
    ("EXTRA_SHARDS=shard-3,shard-3", "shard-3 is in use already"),
    ("WORKER_PROCESSES=0", "must be a whole number from 1 to 99"),
    ("ETCD_UNSAFE_NO_FSYNC=1", "must be one of true, false"),
]


def test_each_setting_of_the_example_has_a_wrong_value_here_and_a_place_in_the_walk() -> None:
    walked = {*ROLLED, *RENAMED, *RELOADED, *OTHERWISE, *INTERRUPTING, *EDGE}
    assert {line.partition("=")[0] for line, _ in WRONG} == walked == set(NAMES)


# Without these nothing else can be read, so each is named alone.
FIRST = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE")


def batches() -> list[list[tuple[str, str]]]:
    """Return all of WRONG, in files that hold each name once: a run of make for each line would
    take half a minute.
    """
    made: list[list[tuple[str, str]]] = []
    for line, rule in WRONG:
        name = line.partition("=")[0]
        fits = (batch for batch in made if all(other.partition("=")[0] not in (name, *FIRST) for other, _ in batch))
        batch = None if name in FIRST else next(fits, None)
        if batch is None:
            made.append(batch := [])
        batch.append((line, rule))
    return made


@pytest.mark.parametrize("batch", batches(), ids=lambda batch: f"{batch[0][0]} and {len(batch) - 1} more")
def test_wrong_settings_are_named_with_their_lines_and_nothing_is_touched(
    clone: Clone, certificates: Path, batch: list[tuple[str, str]]
) -> None:
    lines = [line.replace("{c}", str(certificates)) for line, _ in batch]
    clone.write("\n".join(["# mine", "", *lines, ""]))
    rules = [rule for _, rule in batch]
    says = [f".env:{number}: {line}: {rule}" for number, (line, rule) in enumerate(zip(lines, rules, strict=True), 3)]
    assert sorted(refused(clone)) == sorted(says)


# What two lines say together, and what is said of both.
WRONG_TOGETHER = [
    (
        "EXPOSE_TOPOLOGY=0",
        ".env:1: EXPOSE_TOPOLOGY=0, .env.example: ALLOWED_HOSTS=: name the hosts of the site"
        " (or * for any, which lets a forged one into links)",
    ),
    ("HTTP_PORT=9180\nHTTPS_PORT=9180", ".env:1: HTTP_PORT=9180, .env:2: HTTPS_PORT=9180: must be two ports"),
    ("HTTP_PORT=9090", ".env:1: HTTP_PORT=9090, .env.example: PROMETHEUS_PORT=9090: must be two ports"),
    (
        "TLS_CERTIFICATE={c}/good.pem",
        ".env:1: TLS_CERTIFICATE={c}/good.pem, .env.example: TLS_KEY=: set both, or none of them",
    ),
    ("TLS_KEY={c}/good.key", ".env.example: TLS_CERTIFICATE=, .env:1: TLS_KEY={c}/good.key: set both, or none of them"),
    (
        "TLS_CERTIFICATE={c}/none.pem\nTLS_KEY={c}/good.key",
        f".env:1: TLS_CERTIFICATE={{c}}/none.pem: {NO_FILE.format('{c}/none.pem')}",
    ),
    (
        "TLS_CERTIFICATE={c}/empty.pem\nTLS_KEY={c}/good.key",
        f".env:1: TLS_CERTIFICATE={{c}}/empty.pem: {NO_FILE.format('{c}/empty.pem')}",
    ),
    (
        "TLS_CERTIFICATE={c}/text.pem\nTLS_KEY={c}/good.key",
        ".env:1: TLS_CERTIFICATE={c}/text.pem: holds no certificate in PEM format",
    ),
    (
        "TLS_CERTIFICATE={c}/good.pem\nTLS_KEY={c}/good.pem",
        ".env:2: TLS_KEY={c}/good.pem: holds no key in PEM format without a password",
    ),
    (
        "TLS_CERTIFICATE={c}/good.pem\nTLS_KEY={c}/locked.key",
        ".env:2: TLS_KEY={c}/locked.key: holds no key in PEM format without a password",
    ),
    (
        "TLS_CERTIFICATE={c}/good.pem\nTLS_KEY={c}/other.key",
        ".env:1: TLS_CERTIFICATE={c}/good.pem, .env:2: TLS_KEY={c}/other.key:"
        " the key does not belong to the certificate",
    ),
    (
        "TLS_CERTIFICATE={c}/expired.pem\nTLS_KEY={c}/expired.key",
        ".env:1: TLS_CERTIFICATE={c}/expired.pem: has expired on Jan  1 00:00:00 2021 GMT",
    ),
    (
        "TLS_CERTIFICATE={c}/early.pem\nTLS_KEY={c}/early.key",
        ".env:1: TLS_CERTIFICATE={c}/early.pem: is not valid before Jan  1 00:00:00 2090 GMT",
    ),
    (
        "CDN_URL=https://cdn.example.com\nAWS_CLOUDFRONT_DOMAIN=cdn.example.net",
        ".env:1: CDN_URL=https://cdn.example.com, .env:2: AWS_CLOUDFRONT_DOMAIN=cdn.example.net:"
        " name the same thing: set one of them",
    ),
    (
        "CANARY_IMAGE=no-such-image:1\nLB_UPSTREAMS=web=9,web-canary=1",
        ".env:1: CANARY_IMAGE=no-such-image:1, .env:2: LB_UPSTREAMS=web=9,web-canary=1:"
        " this engine has no image no-such-image:1",
    ),
    (
        "POOL_SIZE=6\nWEB_REPLICAS=16",
        ".env:1: POOL_SIZE=6, .env:2: WEB_REPLICAS=16, 16 replicas of web: may need 277 connections to one PostgreSQL"
        " server, which takes 250: choose a smaller POOL_SIZE or fewer replicas",
    ),
    (
        "EXTRA_REPLICAS=db\nEXTRA_SHARDS=db",
        ".env:2: EXTRA_SHARDS=db: db is in use already",
    ),
]


@pytest.mark.parametrize(("lines", "says"), WRONG_TOGETHER, ids=[lines for lines, _ in WRONG_TOGETHER])
def test_settings_that_do_not_fit_together_are_both_named(
    clone: Clone, certificates: Path, lines: str, says: str
) -> None:
    clone.write(lines.replace("{c}", str(certificates)) + "\n")
    assert refused(clone) == [says.replace("{c}", str(certificates))]


def test_all_wrong_settings_are_named_at_once_with_the_place_that_counts(clone: Clone) -> None:
    clone.write("DEBUG=yes\nLOG_LEVEL=INFO\nHTTP_PORT=1\nHTTP_PORT=0\n")
    assert refused(clone, environment={"LOG_LEVEL": "chatty", "LB": "apache"}) == [
        ".env:4: HTTP_PORT=0: must be a port number from 1 to 65535",
        ".env:1: DEBUG=yes: must be 0 or 1",
        f"environment: LOG_LEVEL=chatty: {LEVELS}",
        "environment: LB=apache: must be nginx or haproxy",
    ]


@pytest.mark.parametrize("command", ["deploy", "ps", "down", "clean", "scale", "trace", "staff", "switchover", "bench"])
def test_every_command_refuses_a_name_of_the_stack_that_is_none(clone: Clone, command: str) -> None:
    clone.write("COMPOSE_PROJECT_NAME=My Shop\n")
    rule = "must be small letters, digits, and - or _ between them"
    assert refused(clone, command, "N=3", "ID=x", "NAME=proxy") == [f".env:1: COMPOSE_PROJECT_NAME=My Shop: {rule}"]


def test_a_bench_is_refused_where_the_work_tree_has_changes_or_no_revision(clone: Clone) -> None:
    assert "this is no clone of git's" in clone.run("make", "bench", "NAME=proxy").stderr
    assert clone.run("git", "init", "--quiet").returncode == 0
    refusal = clone.run("make", "bench", "NAME=proxy").stderr
    assert "error: the work tree has changes" in refusal
    assert "?? Makefile" in refusal
    assert not clone.touched()


@pytest.mark.parametrize("text", ["HTTP_PORT=${X\n", 'HTTP_PORT="8080\n', "HTTP PORT=1\n"])
def test_a_file_that_compose_cannot_read_is_refused_with_its_reason(clone: Clone, text: str) -> None:
    clone.write(text)
    [error] = refused(clone)
    assert ".env: " in error


def test_a_compose_file_that_compose_cannot_use_is_refused_with_its_reason(clone: Clone) -> None:
    clone.write("services: {web: {imag: x}}\n", "compose.mine.yaml")
    clone.write("COMPOSE_FILE=compose.yaml:compose.mine.yaml\n")
    [error] = refused(clone)
    assert "imag" in error


# Each is an attempt to have a shell, bash's arithmetic, sed or make run a command, or to look like
# an option.
HOSTILE = [
    "$(touch {m})",
    "`touch {m}`",
    "a[$(touch {m})]=4",
    "1;touch {m}",
    "1|touch {m}",
    "'; touch {m}; '",
    '"; touch {m}; "',
    "1\ntouch {m}",
    "|;1e touch {m};",
    "--help",
    "-e",
    "\x1b]0;title\x07 {m}",
    "A" * 5000 + " ",
]


@pytest.mark.parametrize("value", HOSTILE, ids=[repr(value[:20]) for value in HOSTILE])
def test_every_setting_refuses_a_hostile_value_in_one_line_and_runs_no_command(clone: Clone, value: str) -> None:
    marker = clone.guard / "marker"
    value = value.format(m=marker)
    lines = refused(clone, environment=dict.fromkeys(NAMES, value))
    named = [re.sub(r"^environment: ([A-Z0-9_]+)=.*", r"\1", line, flags=re.DOTALL) for line in lines]
    assert set(named) == set(NAMES)
    assert not [line for line in lines if "has no rule" in line]
    assert len(named) == len(set(named)), lines
    assert all(line.isprintable() for line in lines), lines
    assert not marker.exists()


# Those that the scripts work with themselves. Alone, since another wrong one would end the check
# early.
WORKED_WITH = ("COMPOSE_FILE", "COMPOSE_PROFILES", "HTTP_PORT", "LB", "LB_UPSTREAMS", "POOL_SIZE", "TLS_KEY")


@pytest.mark.parametrize("name", WORKED_WITH)
def test_a_hostile_value_among_right_ones_runs_no_command(clone: Clone, name: str) -> None:
    marker = clone.guard / "marker"
    [line] = refused(clone, environment={name: f"a[$(touch {marker})]=4"})
    assert line.startswith(f"environment: {name}=a[$(touch "), line
    assert not marker.exists()


# What make itself would run in a value that was typed behind the target.
TYPED = ["$(shell touch {m})", "$$(touch {m})", "`touch {m}`'\"$(touch {m})"]


@pytest.mark.parametrize("value", TYPED)
def test_every_setting_that_is_typed_with_make_is_data(clone: Clone, value: str) -> None:
    marker = clone.guard / "marker"
    lines = refused(clone, "up", *(f"{name}={value.format(m=marker)}" for name in NAMES))
    assert {line.split("=")[0] for line in lines} == {f"environment: {name}" for name in NAMES}
    assert not marker.exists()


@pytest.mark.parametrize("value", TYPED)
@pytest.mark.parametrize(
    ("target", "name", "says"),
    [
        ("scale", "N", "error: how many? make scale N=5"),
        ("bench", "NAME", "error: NAME="),
        ("trace", "ID", "error: which? make trace ID=..."),
        ("logs", "S", "error: S="),
    ],
)
def test_arguments_of_a_target_are_data(clone: Clone, target: str, name: str, says: str, value: str) -> None:
    marker = clone.guard / "marker"
    given = f"{name}={value.format(m=marker)}"
    result = clone.run("make", "--no-print-directory", target, given, environment={"COMPOSE_PROJECT_NAME": "no-stack"})
    assert result.returncode == 2, result.stdout
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("make: ")]
    assert line.startswith(says), line
    assert not marker.exists()
    assert not clone.touched()


def test_the_names_of_tests_that_are_typed_are_data(clone: Clone) -> None:
    marker = clone.guard / "marker"
    typed = f"TESTS=$(shell touch {marker}) $$(touch {marker}) `touch {marker}`"
    with contextlib.ExitStack() as held:  # ports that the stack of these tests does not hold
        ports = [held.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in range(3)]
    names = ("HTTP_PORT", "HTTPS_PORT", "PROMETHEUS_PORT")
    environment = {"COMPOSE_PROJECT_NAME": "no-stack"} | {n: str(p) for n, p in zip(names, ports, strict=True)}
    result = clone.run("make", "test-integration", typed, environment=environment)
    assert result.returncode == 2
    # Far enough: the guard stops it where it would build an image.
    assert "build" in clone.touched(), result.stderr
    assert not marker.exists()


RIGHT = [
    "",
    EXAMPLE,
    "SWIFT_REPLICAS=0\nAWS_S3_ENDPOINT_URL=\nAWS_S3_REGION_NAME=eu-central-1\nAWS_S3_ADDRESSING_STYLE=virtual\n"
    "AWS_STORAGE_BUCKET_NAME=shop-media\nAWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n"
    "AWS_S3_CUSTOM_DOMAIN=media.shop.example\nMEDIA_UPLOAD_URL=https://s3.example.com/shop-media/\n",
    "TLS_CERTIFICATE={c}/good.pem\nTLS_KEY={c}/good.key\nSECURE_COOKIES=1\nEXPOSE_TOPOLOGY=0\n"
    "ALLOWED_HOSTS=shop.example, .shop.example,[::1],*\nMAX_BODY_BYTES=1073741824\nHTTP_PORT=80\nHTTPS_PORT=443\n",
    "TRUSTED_PROXIES=192.0.2.7, 10.0.0.0/8,2001:db8::/32,::1\nCLIENT_ADDRESS=cf-connecting-ip\nHTTPS_ONLY=1\n",
    "EXTRA_REPLICAS=postgres-4\nEXTRA_SHARDS=shard-3\nCOMPOSE_PROFILES=haproxy,postgres-4,shard-3\nPOOL_SIZE=3\n",
    "LB_METHOD=weighted\nLB_UPSTREAMS=web=9, web-canary=1\nCDN_URL=https://cdn.example.com:8443\nCDN_PURGE_URL=\n",
    "COMPOSE_FILE=compose.yaml:compose.redis-cluster.yaml:compose.redis-sentinel.yaml\nRATE_LIMIT=0\nDRAIN_SECONDS=0\n",
    "CANARY_IMAGE=no-such-image:1\n",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right_settings_pass(clone: Clone, certificates: Path, text: str) -> None:
    clone.write(text.replace("{c}", str(certificates)))
    result = clone.bash("load_settings; check_settings")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("group", [1, 2])
def test_the_values_of_each_group_of_the_walk_pass_together(clone: Clone, group: int) -> None:
    """tests/test_up.py uses them; make test runs this one."""
    values = {name: entry[1] for table in (ROLLED, RENAMED) for name, entry in table.items() if entry[0] == group}
    values |= {name: value for name, (number, value) in RELOADED.items() if number == group}
    clone.write("".join(f"{name}={value}\n" for name, value in values.items()))
    result = clone.bash("load_settings; check_settings")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_names_that_are_no_settings_are_noted_and_no_error(clone: Clone) -> None:
    clone.write("LOGLEVEL=x\nhttp_port=1\nHTTPS_PRT=1\nMINE=1\nSTRIPE_KEY=2\nUSED=3\nCOMPOSE_PARALLEL_LIMIT=2\n")
    clone.write("services: {web: {labels: {used: '${USED}'}}}\n", "compose.mine.yaml")
    result = clone.bash("load_settings; check_settings")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stderr.splitlines()) == [
        "note: .env: HTTPS_PRT is not a setting; is HTTPS_PORT meant?",
        "note: .env: LOGLEVEL is not a setting; is LOG_LEVEL meant?",
        "note: .env: http_port is not a setting; is HTTP_PORT meant?",
        "note: .env: not settings of this stack: MINE STRIPE_KEY",
    ]


# Ways to write HTTP_PORT in .env, and what Compose makes of them.
WAYS = [
    ("HTTP_PORT=9180\n", "9180"),
    ("export HTTP_PORT=9180\n", "9180"),
    ("  HTTP_PORT=9180\n", "9180"),
    ("HTTP_PORT: 9180\n", "9180"),
    ("A=1\r\nHTTP_PORT=9180\r\nB=2\r\n", "9180"),
    ('HTTP_PORT="9180"\n', "9180"),
    ("HTTP_PORT='9180' # mine\n", "9180"),
    ("HTTP_PORT=1\nHTTP_PORT=9180\n", "9180"),
    ("X=80\nHTTP_PORT=91${X}\n", "9180"),
    ("# HTTP_PORT=9180\n", "8080"),
    ("HTTP_PORT=\n", "8080"),
    ("MINE='a\nHTTP_PORT=9180\n'\n", "8080"),
]
PORT = "load_settings; check_settings; printf '%s' \"$HTTP_PORT\""


def published(clone: Clone) -> str:
    """Return the port of this machine for http, as Compose has it."""
    result = clone.run("docker", "compose", "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    [port] = [
        port["published"]
        for name in ("nginx", "haproxy")
        for port in json.loads(result.stdout)["services"].get(name, {}).get("ports", [])
        if port["target"] == 8080
    ]
    return str(port)


@pytest.mark.parametrize(("text", "port"), WAYS, ids=[text for text, _ in WAYS])
def test_the_scripts_read_a_line_as_compose_does(clone: Clone, text: str, port: str) -> None:
    clone.write(f"COMPOSE_PROFILES=nginx\n{text}")
    assert published(clone) == port
    result = clone.bash(PORT)
    assert (result.stdout, result.returncode) == (port, 0), result.stderr


def test_the_environment_comes_before_the_file_and_an_empty_variable_of_make_does_not(clone: Clone) -> None:
    clone.write("HTTP_PORT=9180\n")
    assert clone.bash(PORT, HTTP_PORT="9181").stdout == "9181"
    assert clone.bash(PORT, HTTP_PORT="").stdout == "9180"


@pytest.mark.parametrize("value", ["a'b", 'a"b', "a$b", "a${b}c", "a\\b", "a#b", "a #b", "a&b|c", "ä\\n", " a "])
def test_a_value_with_a_meaning_elsewhere_is_read_as_it_is(clone: Clone, value: str) -> None:
    environment = {"AWS_ACCESS_KEY_ID": value}
    result = clone.bash("read_settings; setting AWS_ACCESS_KEY_ID", **environment)
    assert (result.stdout, result.stderr) == (value, "")


REMEMBER = "load_settings; remember_settings"
WRITTEN = {"COMPOSE_PROJECT_NAME": "mine", "HTTP_PORT": "9999", "CDN_PORT": "1234"}
REST = "HTTPS_PORT=8443\nPROMETHEUS_PORT=9090\nEXTRA_REPLICAS=\nEXTRA_SHARDS=\nCOMPOSE_PROFILES=nginx\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"# c\n\nexport HTTP_PORT=9180 # mine\n  CDN_PORT: '1'\nCOMPOSE_PROJECT_NAME=mine\nX=\"a # b\"\n{REST}",
            f'# c\n\nexport HTTP_PORT=9999 # mine\n  CDN_PORT: 1234\nCOMPOSE_PROJECT_NAME=mine\nX="a # b"\n{REST}',
        ),
        (
            f'COMPOSE_PROJECT_NAME="mine"\nHTTP_PORT=1\nCDN_PORT=2\n{REST}'.replace("\n", "\r\n"),
            f'COMPOSE_PROJECT_NAME="mine"\nHTTP_PORT=9999\nCDN_PORT=1234\n{REST}'.replace("\n", "\r\n"),
        ),
        (
            f"{REST}HTTP_PORT=5\nHTTP_PORT=6\nMINE=x",
            f"{REST}HTTP_PORT=5\nHTTP_PORT=9999\nMINE=x\nCOMPOSE_PROJECT_NAME=mine\nCDN_PORT=1234\n",
        ),
    ],
)
def test_what_is_written_leaves_all_other_lines_as_they_are(clone: Clone, before: str, after: str) -> None:
    clone.write(before)
    (clone.root / ".env").chmod(0o600)
    result = clone.bash(REMEMBER, **WRITTEN)
    assert result.returncode == 0, result.stderr
    assert (clone.root / ".env").read_bytes().decode() == after
    assert (clone.root / ".env").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in clone.root.glob(".env~*")] == []


@pytest.mark.parametrize("name", ["x'y $(touch marker)\"\\n#|e&.yaml", 'x"$HOME #\\.yaml'])
def test_compose_reads_back_what_was_written(clone: Clone, name: str) -> None:
    (clone.root / "compose.yaml").rename(clone.root / name)
    result = clone.bash(REMEMBER, COMPOSE_FILE=name)
    assert result.returncode == 0, result.stderr
    assert clone.bash("recorded COMPOSE_FILE").stdout == name
    assert published(clone) == "8080"
    assert not (clone.root / "marker").exists()


def test_a_file_that_could_not_be_written_so_that_compose_reads_it_stays_as_it_is(clone: Clone) -> None:
    text = "HTTP_PORT=1\nMINE='a\nHTTP_PORT=2\n'\n"
    clone.write(text)
    result = clone.bash(REMEMBER, HTTP_PORT="9999")
    assert result.returncode == 1
    assert errors(result)[0].startswith(".env: Compose would not read ")
    assert (clone.root / ".env").read_text(encoding="utf-8") == text
    assert [path.name for path in clone.root.glob(".env~*")] == []


def test_the_settings_of_a_second_stack_are_not_written(clone: Clone) -> None:
    clone.write("COMPOSE_PROJECT_NAME=first\n")
    assert clone.bash(REMEMBER, COMPOSE_PROJECT_NAME="second").returncode == 0
    assert (clone.root / ".env").read_text(encoding="utf-8") == "COMPOSE_PROJECT_NAME=first\n"


def test_the_example_has_the_defaults_of_compose() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z0-9_]+):?-([^{}]*)\}", text))
    inner = {("CANARY_IMAGE", ""), ("TLS_CERTIFICATE", ""), ("TLS_KEY", ""), ("MEDIA_STORE_SECRET", "")}
    own = {"TLS_CERTIFICATE", "TLS_KEY", "MEDIA_STORE_SECRET"}  # Compose's default is the file that make has made
    assert {(name, value) for name, value in used if name not in own} <= set(DEMO.items()) | inner


def test_a_new_setting_without_a_rule_is_refused(clone: Clone) -> None:
    clone.write(EXAMPLE + "\nBRAND_NEW=1\n", ".env.example")
    [line] = refused(clone, environment={"BRAND_NEW": "1"})
    assert line == "environment: BRAND_NEW=1: must be listed in scripts/rules.sh, which has no rule for it"


def test_the_example_names_the_same_sum_of_connections_as_the_error() -> None:
    settings = (ROOT / "postgres" / "patroni.yml").read_text(encoding="utf-8")
    most = int(re.findall(r"^ *max_connections: (\d+)$", settings, re.MULTILINE)[0]) - 10
    assert re.findall(r"a sum above (\d+)", EXAMPLE) == [str(most)]


def test_each_comment_of_the_example_is_short() -> None:
    assert [line for line in EXAMPLE.splitlines() if len(line) > 100 and not line.startswith("# ──")] == []
