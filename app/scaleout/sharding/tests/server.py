"""A PostgreSQL server of a test's own, to be killed and replaced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Self

import psycopg
from waiting import TIME_FACTOR

BIN = Path("/usr/lib/postgresql/17/bin")
PORT = "5432"  # each server has a folder of its own for its socket, so they share the number
# A standby that has lost its primary looks for it again after 5 s by default.
# The WAL leaves the memory when a commit waits for it, and not by itself in between.
SETTINGS = "-c wal_writer_delay=10s -c wal_writer_flush_after=0 -c fsync=off -c wal_retrieve_retry_interval=100ms"


class Server:
    """A primary, or a streaming standby; it ends with the block."""

    def __init__(self, folder: Path, standby_of: Server | None = None) -> None:
        self.folder, self._data = folder, folder / "data"
        folder.mkdir()
        if os.geteuid() == 0:
            subprocess.run(["chown", "postgres", str(folder)], check=True, timeout=10)
            for parent in list(folder.parents)[:3]:
                parent.chmod(0o755)
        if standby_of is None:
            self._run("initdb", "-A", "trust", "-U", "tester", "-D", str(self._data), "--no-sync")
        else:
            source = f"host={standby_of.folder} port={PORT} user=tester application_name=standby"
            self._run("pg_basebackup", "-D", str(self._data), "-d", source, "-R", "-X", "stream", "-c", "fast")
        self.start()

    def __enter__(self) -> Self:
        """Return it: it runs already."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End it."""
        if (self._data / "postmaster.pid").exists():
            self.crash()

    def _run(self, name: str, *arguments: str) -> None:
        lead = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*lead, str(BIN / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120 * TIME_FACTOR, cwd=self.folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c port={PORT} {SETTINGS}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "90", "-D", str(self._data), "-l", log, "-o", options)

    def crash(self) -> None:
        """Kill it: what was in memory only is lost."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", "immediate")

    def promote(self) -> None:
        """Make the standby the primary."""
        self._run("pg_ctl", "promote", "-w", "-D", str(self._data))

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a new connection, which commits each statement."""
        return psycopg.connect(host=str(self.folder), port=PORT, user="tester", dbname="postgres", autocommit=True)

    def execute(self, statement: str) -> None:
        """Run one statement."""
        with self.connect() as connection:
            connection.execute(statement)
