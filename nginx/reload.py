#!/usr/bin/env python3
"""The command `reload`: the watcher applies the settings in /etc/lb, or one line says why not."""

import socket
import sys

SOCKET = "/run/lb/reload.sock"
SECONDS = 60  # for the current round, the check and the reload


def ask() -> str:
    """Return the watcher's answer: `ok` if the new settings are in use, else the error."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(SOCKET)
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")


try:
    answer = ask()
except OSError as error:
    answer = f"watcher does not answer: {error}"
if answer != "ok":
    sys.exit(f"nginx: {answer or 'watcher has exited'}")
