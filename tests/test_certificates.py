"""The stack's own authority: scripts/certificates.sh creates, keeps and renews certificates."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
from support.clone import Clone

NODES = {"etcd", "postgres-1", "postgres-2", "postgres-3", "postgres-4", "shard-1", "shard-2", "shard-3", "dev"}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone of the set-up, with its certificates made."""
    clone = Clone.make(tmp_path)
    write(clone)
    return clone


def write(clone: Clone, **environment: str) -> None:
    """Run the script, which must succeed."""
    result = clone.run("scripts/certificates.sh", "write", environment=environment)
    assert result.returncode == 0, result.stderr


def openssl(*command: str) -> str:
    """Return what openssl prints."""
    return subprocess.run(("openssl", *command), check=True, capture_output=True, text=True).stdout


def everything(clone: Clone) -> dict[str, bytes]:
    """Return the secrets of the clone."""
    return {name: data for name, data in clone.files().items() if name.startswith("secrets/")}


def test_each_node_has_a_certificate_of_the_authority_for_its_names(clone: Clone) -> None:
    secrets = clone.root / "secrets"
    assert {path.name for path in (secrets / "nodes").iterdir()} == NODES
    for name in NODES:
        file, host = str(secrets / "nodes" / name / "identity.pem"), "postgres-1" if name == "dev" else name
        openssl("verify", "-CAfile", str(secrets / "ca_certificate"), file)
        names = openssl("x509", "-noout", "-in", file, "-ext", "subjectAltName").splitlines()[1].split(", ")
        wanted = [f"DNS:{host}", f"DNS:{host}.data", "DNS:node", "DNS:localhost", "IP Address:127.0.0.1"]
        assert [one.strip() for one in names] == wanted
    assert stat.S_IMODE((secrets / "ca_key").stat().st_mode) == 0o400


def test_a_node_gets_the_password_of_its_own_cluster(clone: Clone) -> None:
    nodes = clone.root / "secrets" / "nodes"
    held = {name: {path.name for path in (nodes / name).glob("patroni_*")} for name in NODES - {"etcd"}}
    main = {f"postgres-{number}": {"patroni_main"} for number in range(1, 5)}
    assert held == main | {name: {f"patroni_{name}"} for name in ("shard-1", "shard-2", "shard-3", "dev")}
    words = {path.name: path.read_text(encoding="utf-8") for path in (nodes / "etcd").glob("patroni_*")}
    assert len(set(words.values())) == len(words) == 5
    assert all((nodes / name / file).read_text(encoding="utf-8") == words[file] for name in held for file in held[name])


def test_existing_certificates_are_kept(clone: Clone) -> None:
    before = everything(clone)
    write(clone)
    assert everything(clone) == before


def test_a_node_that_the_settings_add_has_a_certificate_and_a_password(clone: Clone) -> None:
    before = everything(clone)
    write(clone, EXTRA_REPLICAS="postgres-4,postgres-5", EXTRA_SHARDS="shard-9")
    after = everything(clone)
    assert {name: after[name] for name in before} == before
    added = {name.removeprefix("secrets/nodes/") for name in set(after) - set(before)}
    files = {"/ca.pem", "/identity.pem"}
    wanted = {f"postgres-5{file}" for file in files} | {f"shard-9{file}" for file in files}
    folders = {"postgres-5", "shard-9"}
    assert added == wanted | folders | {"postgres-5/patroni_main", "shard-9/patroni_shard-9", "etcd/patroni_shard-9"}


def test_a_certificate_that_expires_soon_or_has_another_authority_is_renewed(clone: Clone) -> None:
    secrets = clone.root / "secrets"
    file, before = secrets / "nodes" / "shard-1" / "identity.pem", everything(clone)
    key = clone.root / "key"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(key))
    new = ("req", "-x509", "-new", "-key", str(key), "-subj", "/CN=shard-1", "-days")
    ours = ("-CA", str(secrets / "ca_certificate"), "-CAkey", str(secrets / "ca_key"))
    for bad in (openssl(*new, "59", *ours), openssl(*new, "300"), "text", ""):
        file.unlink()
        file.write_text(bad, encoding="utf-8")
        write(clone)
        after = everything(clone)
        changed = {name for name in before if after[name] != before[name]}
        assert changed == {"secrets/nodes/shard-1/identity.pem"}, bad
        openssl("verify", "-CAfile", str(secrets / "ca_certificate"), str(file))


def test_the_next_expiry_is_shown_with_a_warning(clone: Clone) -> None:
    secrets = clone.root / "secrets"
    shown = clone.run("scripts/certificates.sh", "show")
    assert shown.stdout.startswith("internal certificates (etcd, Patroni): until 20")
    assert "warning" not in shown.stdout
    file = secrets / "nodes" / "etcd" / "identity.pem"
    file.unlink()
    ours = ("-CA", str(secrets / "ca_certificate"), "-CAkey", str(secrets / "ca_key"))
    new = ("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=etcd", "-days", "20", "-keyout", "/dev/null")
    file.write_text(openssl(*new, *ours), encoding="utf-8")
    said = clone.run("scripts/certificates.sh", "show").stdout
    # Of 20 days some seconds have passed, or not one second.
    assert re.search("expires in (19|20) days: make rotate-certs", said), said
