"""etcd and Patroni reject a container of their network without certificate and password."""

from __future__ import annotations

import json

import pytest
from support.restore import patroni, primary
from support.settings import MAIN_NODES, SHARD_NODES
from support.stack import Stack, run

OWN = ("--cert", "/run/node/identity.pem", "--key", "/run/node/identity.pem")
CURL = ("curl", "-sS", "--max-time", "5", "--cacert", "/run/node/ca.pem")
HOSTILE = '{"postgresql": {"callbacks": {"on_reload": "/bin/touch /tmp/owned"}}}'
UNSAFE = (
    ("PATCH", "config"), ("PUT", "config"), ("POST", "restart"), ("POST", "reload"), ("POST", "switchover"),
    ("POST", "failover"), ("POST", "reinitialize"), ("POST", "failsafe"), ("DELETE", "restart"), ("POST", "sigterm"),
)  # fmt: skip
# A self-signed pair for the length of one command: bash deletes the folder.
STRANGER = """
folder=$(mktemp -d) && trap 'rm -r "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=postgres-1 \
  -keyout "$folder/key" -out "$folder/certificate" 2>/dev/null
strange=(--cert "$folder/certificate" --key "$folder/key")
"""
VERSION = 'curl -sS --max-time 5 --cacert /run/node/ca.pem "${strange[@]}" https://etcd:2379/version'
# Each order three times: without a certificate, with another authority's, and with our own but
# without the password.
ORDERS = """
ask() {
  curl -s --max-time 5 --cacert /run/node/ca.pem -o /dev/null -w '%{http_code} ' \\
    -X "$verb" -d "$1" "${@:2}" "$target/$path"
}
while read -r verb path; do
  printf '%s %s ' "$verb" "$path"
  ask "$2"; ask "$2" "${strange[@]}"; ask "$2" --cert /run/node/identity.pem --key /run/node/identity.pem; echo
done
"""


# Lines of `user command…` become `ok` or `denied`. The certificate is etcd's own: what counts is
# the user.
ETCDCTL = """
cd /run/node
while read -r user command; do
  said=$(ETCDCTL_USER=$user ETCDCTL_PASSWORD=$(<"$user") etcdctl --endpoints=https://localhost:2379 \
    --cacert=ca.pem --cert=identity.pem --key=identity.pem $command 2>&1 </dev/null) && echo ok && continue
  [[ $said == *"permission denied"* ]] && echo denied || echo "$said"
done
"""


def allowed(stack: Stack, commands: list[str]) -> list[str]:
    """Return the lines of `user command…` that etcd allows; each of the others must be denied."""
    said = stack.run_in("etcd", "bash", "-c", ETCDCTL, text="".join(f"{one}\n" for one in commands)).splitlines()
    assert set(said) <= {"ok", "denied"}, said
    return [one for one, answer in zip(commands, said, strict=True) if answer == "ok"]


# ── etcd ──────────────────────────────────────────────────────────────────────────────────────────
def test_etcd_rejects_clients_without_a_certificate_of_its_authority(stack: Stack) -> None:
    for node in ("postgres-2", "shard-1"):
        plain = stack.run_in(node, "curl", "-sS", "--max-time", "5", "http://etcd:2379/version", check=False)
        bare = stack.run_in(node, *CURL, "https://etcd:2379/version", check=False)
        strange = stack.run_in(node, "bash", "-c", STRANGER + VERSION, check=False)
        own = stack.run_in(node, *CURL, *OWN, "https://etcd:2379/version")
        assert not [said for said in (plain, bare, strange) if "etcdserver" in said]
        assert "etcdserver" in own


def test_a_certificate_alone_reads_and_writes_no_key(stack: Stack) -> None:
    config = "L3NlcnZpY2UvbWFpbi9jb25maWc="  # /service/main/config
    for path, body in (("range", {"key": config}), ("put", {"key": config, "value": "e30="})):
        ask = (*CURL, *OWN, "--data", json.dumps(body), f"https://etcd:2379/v3/kv/{path}")
        assert "user name is empty" in stack.run_in("shard-1", *ask), path


def test_each_cluster_has_its_own_keys_and_no_other(stack: Stack) -> None:
    clusters = ("main", *SHARD_NODES)
    do = ("get --keys-only --prefix /service/{}/", "put /service/{}/tests 1", "del /service/{}/tests")
    beyond = ("get --keys-only --prefix /", "put /x 1", "user list", "role list", "auth disable")
    own = [f"patroni_{one} {command.format(one)}" for one in clusters for command in do]
    others = [
        f"patroni_{one} {command.format(other)}"
        for one in clusters for other in clusters if other != one for command in do
    ]  # fmt: skip
    others += [f"patroni_{one} {command}" for one in clusters for command in beyond]
    assert allowed(stack, own + others) == own


# ── Patroni ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("target", ["postgres-1", "shard-2"])
def test_patroni_rejects_commands_without_certificate_and_password(stack: Stack, target: str) -> None:
    leader = primary(stack)
    before = patroni(stack, leader, "config")
    script = STRANGER + f"target=https://{target}.data:8008\n" + ORDERS
    orders = "".join(f"{verb} {path}\n" for verb, path in UNSAFE)
    answer = stack.run_in("shard-1", "bash", "-c", script, "-", "-", HOSTILE, text=orders)
    wanted = [f"{verb} {path} 403 000 401" for verb, path in UNSAFE]  # 000: no connection
    assert [line.strip() for line in answer.splitlines()] == wanted
    assert patroni(stack, leader, "config") == before


def test_patroni_speaks_tls_only(stack: Stack) -> None:
    for target in (*MAIN_NODES, *SHARD_NODES):
        plain = ("curl", "-sS", "--max-time", "5", f"http://{target}.data:8008/health")
        assert "state" not in stack.run_in("shard-1", *plain, check=False)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_node_holds_its_own_key_and_password_and_none_holds_the_authority_s(stack: Stack) -> None:
    for one in stack.containers():
        sources = [mount["Source"] for mount in one.details["Mounts"]]
        assert not [path for path in sources if path.endswith(("/secrets", "/ca_key", "/nodes"))], one.name
        nodes = [path.rsplit("/", 1)[1] for path in sources if "/secrets/nodes/" in path]
        database = one.service.startswith(("postgres-", "shard-")) or one.service == "etcd"
        assert nodes == ([one.service] if database else []), one.name
    for node in (*MAIN_NODES, *SHARD_NODES):
        cluster = "main" if node in MAIN_NODES else node
        held = set(stack.run_in(node, "ls", "/run/node").split())
        assert held == {"ca.pem", "identity.pem", f"patroni_{cluster}"}, node


def test_rotated_certificates_are_used_without_a_change_of_the_primary(stack: Stack) -> None:
    leader, serial = primary(stack), ("openssl", "x509", "-noout", "-serial", "-in", "/run/node/identity.pem")
    old = {node: stack.run_in(node, *serial) for node in (*MAIN_NODES, *SHARD_NODES, "etcd")}
    said = run("make", "rotate-certs", timeout=120)
    assert all(f"{node} uses its new certificate" in said for node in old), said
    assert not [node for node in old if stack.run_in(node, *serial) == old[node]]
    assert primary(stack) == leader
