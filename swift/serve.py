"""Run Swift: a proxy with the S3 API, and servers for accounts, containers and objects.

When one process exits, all do, and the container restarts.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import Any

CONFIG = Path("/run/swift")  # a tmpfs; /etc/swift is a link to it
DATA = Path("/var/lib/swift")
SECRET = Path("/run/secrets/media_store")
TEMPLATES = Path(__file__).parent / "templates"
STORAGE = {"account": 6202, "container": 6201, "object": 6200}  # the ports, on 127.0.0.1
ACCOUNT, BUCKET = "AUTH_media", "media"
START_SECONDS = 30.0


def main() -> int:
    """Start all servers, create the bucket, and wait until a server exits or a signal arrives."""
    if len(sys.argv) == 2:
        return serve(sys.argv[1])
    configure()
    servers = [run(name) for name in STORAGE]
    asked = False

    def stop(*_: Any) -> None:
        nonlocal asked
        asked = True
        for server in servers:
            server.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        # Before the proxy starts, since it caches a missing bucket.
        if run("bucket").wait() == 0 and not asked:
            servers.append(run("proxy"))
            os.wait()  # until the first server exits
    finally:
        stopped = asked
        stop()
        for server in servers:
            server.wait()
    return 0 if stopped else 1


def run(name: str) -> subprocess.Popen[bytes]:
    """Start this file as the process `name`."""
    return subprocess.Popen([sys.executable, __file__, name])


def serve(name: str) -> int:
    """Run one of the servers, or create the bucket."""
    if name == "bucket":
        make_bucket()
        return 0
    from swift.common.wsgi import run_wsgi  # noqa: PLC0415 - the import patches the standard library

    return int(run_wsgi(str(CONFIG / f"{name}-server.conf"), f"{name}-server", verbose=True))


def configure() -> None:
    """Render the configuration with the secret, and build the rings."""
    try:
        secret = SECRET.read_text(encoding="utf-8").strip()
    except OSError as error:
        refuse(f"cannot be read: {error.strerror}")
    if not secret or secret.split() != [secret]:
        refuse("must be one word, not empty")
    prefix, suffix = hash_words()
    os.umask(0o077)
    render("swift.conf", "swift.conf", prefix=prefix, suffix=suffix)
    render("proxy-server.conf", "proxy-server.conf", secret=secret)
    render("internal-client.conf", "internal-client.conf")
    for server, port in STORAGE.items():
        render("storage-server.conf", f"{server}-server.conf", server=server, port=str(port))
    (DATA / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    make_rings()


def refuse(reason: str) -> None:
    """Exit with one line about the secret, and status 64."""
    print(f"swift: secret media_store: {reason}", file=sys.stderr)
    raise SystemExit(os.EX_USAGE)


def hash_words() -> list[str]:
    """Return the salts of Swift's hashes: random at the first start, then read from the volume."""
    path = DATA / "hash"
    if not path.exists():
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(16)} {secrets.token_hex(16)}")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    return path.read_text(encoding="ascii").split()


def render(template: str, name: str, **values: str) -> None:
    """Render a template."""
    (CONFIG / name).write_text(Template((TEMPLATES / template).read_text("utf-8")).substitute(values), "utf-8")


def make_rings() -> None:
    """Build the rings: all data are on one device."""
    from swift.common.ring import RingBuilder  # noqa: PLC0415 - the servers must patch the library first

    for server, port in STORAGE.items():
        builder = RingBuilder(4, 1, 0)
        place = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "d1", "meta": "", **place})
        builder.rebalance(seed=1)
        builder.get_ring().save(str(CONFIG / f"{server}.ring.gz"))


def make_bucket() -> None:
    """Create the bucket if it is missing: public to read, but not to list."""
    from swift.common.internal_client import InternalClient, UnexpectedResponse  # noqa: PLC0415 - as above

    client = InternalClient(str(CONFIG / "internal-client.conf"), "bucket", 1)
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            client.create_container(ACCOUNT, BUCKET, {"X-Container-Read": ".r:*"})
            return
        except UnexpectedResponse:  # a server that has not started yet
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
