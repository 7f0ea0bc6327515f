"""A primary and two standbys of the run's own: real servers, to be paused, promoted and killed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

BIN = Path("/usr/lib/postgresql/17/bin")
PORT = "5432"  # each server has a socket directory of its own, so they share the number


class Postgres:
    """One server, in a folder of its own that is its socket directory too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    @property
    def host(self) -> str:
        """What libpq takes as the host."""
        return str(self.folder)

    def command(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, or another; as the user postgres where this is root, who may not."""
        lead = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        program = str(BIN / name) if (BIN / name).exists() else name
        subprocess.run([*lead, program, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=self.folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c port={PORT} -c fsync=off"
        log = str(self.folder / "log")
        self.command("pg_ctl", "start", "-w", "-D", str(self.data), "-l", log, "-o", settings)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: by default as if the machine had lost power."""
        self.command("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def promote(self) -> None:
        """Make the standby the primary."""
        self.command("pg_ctl", "promote", "-w", "-D", str(self.data))

    def execute(self, sql: str) -> str:
        """Run one statement over a connection of its own and return the first value, if there is one."""
        with psycopg.connect(
            host=self.host, port=PORT, user="tester", dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else ""

    def freeze(self) -> None:
        """Stop all its processes with SIGSTOP: it takes connections and answers nobody."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def receiver(self) -> int:
        """Return the process that receives the log; 0 where there is none."""
        return int(self.execute("SELECT pid FROM pg_stat_wal_receiver") or 0)

    def _pids(self) -> list[int]:
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *(int(child) for child in children)]


class Trio:
    """A primary, `one`, and its streaming standbys, `two` and `three`."""

    def __init__(self, folder: Path) -> None:
        self.servers = [Postgres(folder / name) for name in ("one", "two", "three")]
        self.one, self.two, self.three = self.servers
        for server in self.servers:
            server.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            for path in (folder, *(server.folder for server in self.servers)):
                os.chown(path, postgres.pw_uid, postgres.pw_gid)
        self.one.command("initdb", "-D", str(self.one.data), "-U", "tester", "-A", "trust", "--no-sync")
        self.one.start()
        self.source = f"host={self.one.host} port={PORT} user=tester"
        for server in (self.two, self.three):
            self.copy(server)

    def copy(self, server: Postgres) -> None:
        """Make `server` a standby of the primary, and start it."""
        server.command("pg_basebackup", "-D", str(server.data), "-R", "-c", "fast", "--no-sync", "-d", self.source)
        server.start()

    def end(self, folder: Path) -> None:
        """Stop all and remove what they wrote."""
        for server in self.servers:
            if (server.data / "postmaster.pid").exists():
                server.thaw()
                server.stop()
        shutil.rmtree(folder)
