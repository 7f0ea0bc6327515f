#!/usr/bin/python3
"""Start a PostgreSQL node: check the environment, render Patroni's configuration, exec Patroni."""

import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from string import Template
from typing import NoReturn

from patroni_networks import data_and_others

HERE = Path(__file__).parent
SECRETS = Path("/run/secrets")
NODE = Path("/run/node")  # this node's certificate and its cluster's password: scripts/certificates.sh
STORE_SECONDS = 15.0
WORD = r"[a-z][a-z0-9_]{0,40}"
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
DATABASE = re.compile(f"({WORD}):({WORD})")


def refuse(message: str) -> NoReturn:
    """Exit with one line and status 64, the usage error of sysexits.h."""
    print(f"postgres: {message}", file=sys.stderr)
    sys.exit(64)


def variable(name: str, pattern: re.Pattern[str], meaning: str) -> str:
    """Return the environment variable `name`, which must fully match `pattern`."""
    value = os.environ.get(name, "")
    if not pattern.fullmatch(value):
        refuse(f'{name}="{value}": must be {meaning}')
    return value


def databases() -> list[tuple[str, str]]:
    """Return DATABASES as pairs of database and owner."""
    pairs: dict[str, str] = {}
    for word in os.environ.get("DATABASES", "").split():
        match = DATABASE.fullmatch(word)
        if not match:
            refuse(f'DATABASES: "{word}": must be database:owner, in lower-case letters, digits and _')
        if match[1] in pairs or match[1] in {"postgres", "template0", "template1"}:
            refuse(f'DATABASES: "{match[1]}": occurs twice, or is PostgreSQL\'s own')
        pairs[match[1]] = match[2]
    if not pairs:
        refuse('DATABASES="": must be words such as database:owner')
    return list(pairs.items())


def secret(name: str, folder: Path = SECRETS) -> str:
    """Return the secret `name`: one non-empty line."""
    try:
        value = (folder / name).read_text().removesuffix("\n")
    except (OSError, ValueError) as error:
        refuse(f"secret {name}: cannot be read: {error}")
    if not value or not value.isprintable():
        refuse(f"secret {name}: must be one line of text, not empty")
    return value


def render() -> str:
    """Return the rendered patroni.yml. Values are JSON strings, which are valid YAML."""
    node = variable("NODE", NAME, "a host name in lower-case letters, digits and -")
    cluster = variable("CLUSTER", NAME, "a name in lower-case letters, digits and -")
    data_dir = variable("PGDATA", re.compile(r"/[\w./-]+"), "an absolute path")
    pairs = databases()
    for owner in sorted({owner for _, owner in pairs}):
        secret(f"db_{owner}_owner")
        secret(f"db_{owner}_app")
    names = ("postgres_replicator", "postgres_rewind")
    secrets = {name: json.dumps(secret(name)) for name in names}
    secrets["password"] = json.dumps(secret(f"patroni_{cluster}", NODE))
    for name in ("ca.pem", "identity.pem"):
        if not (NODE / name).is_file():
            refuse(f"{NODE / name} is missing: run make up")
    try:
        data, others = data_and_others(f"{node}.data")
    except OSError as error:
        refuse(f'NODE="{node}": no address {node}.data on a network: {error}')
    # An application's roles reach their own databases from all networks but `data`.
    lines = [
        f"    - host  {database} {owner}_owner,{owner}_app {network} scram-sha-256"
        for network in others
        for database, owner in pairs
    ]
    return Template((HERE / "patroni.yml").read_text()).substitute(
        secrets,
        node=node,
        cluster=cluster,
        data_dir=data_dir,
        data_network=str(data),
        application_lines="\n".join(lines),
    )


def wait_for_store() -> None:
    """Wait until etcd listens, for STORE_SECONDS at most: Patroni would retry only after 5 s."""
    deadline = time.monotonic() + STORE_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("etcd", 2379), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


def main() -> None:
    """Write the configuration, readable by this user only, and exec Patroni."""
    text = render()
    target = Path(os.environ["PATRONICTL_CONFIG_FILE"])
    os.umask(0o077)
    target.unlink(missing_ok=True)
    target.write_text(text)
    wait_for_store()
    daemon = str(HERE / "patroni_daemon.py")
    os.execv(daemon, [daemon, str(target)])  # noqa: S606  # no shell is needed


if __name__ == "__main__":
    main()
