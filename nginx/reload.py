#!/usr/bin/env python3
"""The command `reload`: the watcher applies what is in /etc/lb now, or one line says why not."""

import socket
import sys

SOCKET = "/run/lb/reload.sock"
SECONDS = 60  # for a round that has begun, the check and the reload


def ask() -> str:
    """Return the watcher's answer: `ok` when the new settings are in use, else what is wrong."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(SOCKET)
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")


try:
    answer = ask()
except OSError as error:
    answer = f"the watcher does not answer: {error}"
if answer != "ok":
    sys.exit(f"nginx: {answer or 'the watcher has ended'}")
