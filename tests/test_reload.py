"""New settings and a new certificate are applied by `reload`, and no request is lost."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Site
from support.front import Front
from support.load import Load, assert_all_answered
from support.settings import TIME_FACTOR
from support.stack import Stack, run
from support.wait import eventually

RATE = 50.0
ANSWERS = 12  # enough to see each replica, where each gets requests


@pytest.fixture
def front(stack: Stack) -> Iterator[Front]:
    """What the load balancer reads, put back and applied afterwards."""
    found = Front(stack)
    yield found
    found.restore()
    assert found.reload() == (0, "")


def replicas(site: Site) -> set[str]:
    """Return the replicas that answer."""
    return {site.get("/counter/").headers["X-Served-By"] for _ in range(ANSWERS)}


def shown(secure_site: Site) -> str:
    """Return the certificate that the site shows."""
    address = ("127.0.0.1", secure_site.port)
    return ssl.get_server_certificate(address, timeout=5 * TIME_FACTOR).strip()


def test_each_change_is_in_use_after_a_reload_and_no_request_is_lost(
    front: Front, site: Site, secure_site: Site, tmp_path: Path
) -> None:
    files = {"tls_certificate": tmp_path / "certificate", "tls_key": tmp_path / "key"}
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=renewed", "-keyout", str(files["tls_key"]), "-out", str(files["tls_certificate"]),
    )  # fmt: skip
    settings: dict[str, str] = {}

    def change(name: str, value: str) -> None:
        settings[name] = value
        front.set(**settings)
        assert front.reload() == (0, "")

    assert len(replicas(site)) > 1
    assert site.get("/counter/", headers={"Host": "evil.example"}).status_code == 200
    with Load(site, ["/counter/"], rate=RATE, threads=8) as load:
        change("LB_METHOD", "ip_hash")
        assert len(replicas(site)) == 1
        change("ALLOWED_HOSTS", "127.0.0.1,localhost,shop.example")
        assert site.get("/counter/", headers={"Host": "evil.example"}).status_code == 421
        change("MAX_BODY_BYTES", "2000")
        assert site.post("/counter/", data=b"x" * 2001).status_code == 413
        assert site.post("/counter/", data=b"x" * 2000).status_code == 200
        for name, path in files.items():
            front.put(name, path.read_bytes())
        assert front.reload() == (0, "")
        assert shown(secure_site) == files["tls_certificate"].read_text().strip()
        done = load.elapsed
        eventually("a second of load after it", lambda: load.elapsed > done + 1, within=3)
    assert len(load.outcomes) > RATE
    assert_all_answered(load)


@pytest.mark.failure
def test_a_rejected_setting_is_named_and_the_old_values_stay_also_when_a_replica_leaves(
    front: Front, stack: Stack, site: Site
) -> None:
    front.set(MAX_BODY_BYTES="2000")
    assert front.reload() == (0, "")
    for name, value in (("LB_METHOD", "fastest"), ("MAX_BODY_BYTES", "much"), ("LB_UPSTREAMS", "web=lots")):
        front.set(**{name: value})
        code, complaint = front.reload()
        assert code == 1
        assert name in complaint
        assert value in complaint
        assert len(complaint.splitlines()) == 1
    victim = stack.containers("web")[0]
    run("docker", "pause", victim.id)
    try:
        gone = f"no answer of {victim.name}"
        eventually(gone, lambda: replicas(site), lambda seen: victim.name not in seen, within=15)
        assert site.post("/counter/", data=b"x" * 2001).status_code == 413
        assert site.post("/counter/", data=b"x" * 2000).status_code == 200
    finally:
        run("docker", "unpause", victim.id)
    front.restore()
    front.put("tls_key", b"no key\n")
    code, complaint = front.reload()
    assert (code, len(complaint.splitlines())) == (1, 1), complaint
    eventually(f"{victim.name} to answer", lambda: replicas(site), lambda seen: victim.name in seen, within=15)
