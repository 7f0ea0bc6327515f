"""The name of this replica, as `docker compose ps` shows it: web-1, web-2, ..."""

from __future__ import annotations

import re
import socket


def replica_name() -> str:
    """Return `<service>-<number>` from Docker's reverse DNS, or the host name where that has no answer."""
    host = socket.gethostname()
    try:
        name = socket.gethostbyaddr(socket.gethostbyname(host))[0]
    except OSError:
        return host
    # <project>-<service>-<number>.<network>; Compose's service names may hold a dash themselves.
    container = name.split(".")[0]
    found = re.search(r"(?:^|[-_])((?:web|users|products|orders|worker|beat|migrate)(?:-canary)?-\d+)$", container)
    return found[1] if found else container


if __name__ == "__main__":
    print(replica_name())
