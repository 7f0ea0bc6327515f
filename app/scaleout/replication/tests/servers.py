"""A primary and two standbys of the run's own: real servers, to be paused, promoted and killed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from waiting import TIME_FACTOR, eventually

BIN = Path("/usr/lib/postgresql/17/bin")
PORT = "5432"  # each server has a socket directory of its own, so they share the number


class Postgres:
    """One server, in a folder of its own that is its socket directory too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    @property
    def host(self) -> str:
        """The host for libpq."""
        return str(self.folder)

    def command(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, or another; as the user postgres where this is root,
        who may not.
        """
        lead = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        program = str(BIN / name) if (BIN / name).exists() else name
        subprocess.run(
            [*lead, program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60 * TIME_FACTOR,
            cwd=self.folder,
        )

    def back_up(self, source: str) -> None:
        """Take the data of the running primary, to be a standby of it."""
        self.command("pg_basebackup", "-D", str(self.data), "-R", "-c", "fast", "--no-sync", "-d", source)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c port={PORT}"
        # A standby that has lost its primary looks for it again after 5 s by default.
        settings += " -c fsync=off -c wal_retrieve_retry_interval=100ms"
        log = str(self.folder / "log")
        self.command("pg_ctl", "start", "-w", "-D", str(self.data), "-l", log, "-o", settings)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: by default as if the machine had lost power."""
        self.command("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def promote(self) -> None:
        """Make the standby the primary."""
        self.command("pg_ctl", "promote", "-w", "-D", str(self.data))

    def execute(self, sql: str) -> str:
        """Run one statement over a connection of its own and return the first value, if there is
        one.
        """
        with psycopg.connect(
            host=self.host, port=PORT, user="tester", dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else ""

    def freeze(self) -> None:
        """Pause all its processes with SIGSTOP: it accepts connections and answers none."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume them."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def receiver(self) -> int:
        """Return the process that receives the log, once it exists."""
        receivers = "SELECT max(pid) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        eventually(lambda: self.execute(receivers) != "None", 10, "the standby to stream")
        return int(self.execute(receivers))

    def _pids(self) -> list[int]:
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *(int(child) for child in children)]


def _own(*folders: Path) -> None:
    """Make the folders, and give them to the user whom the servers run as."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            os.chown(folder, postgres.pw_uid, postgres.pw_gid)


@functools.cache
def _made() -> tuple[Path, Path]:
    """Return the data of a primary and of a standby that do not run: each trio of this process gets
    copies of them.
    """
    folder = Path(tempfile.mkdtemp(prefix="made-"))
    atexit.register(shutil.rmtree, folder)
    primary, standby = Postgres(folder / "primary"), Postgres(folder / "standby")
    _own(folder, primary.folder, standby.folder)
    primary.command("initdb", "-D", str(primary.data), "-U", "tester", "-A", "trust", "--no-sync")
    primary.start()
    standby.back_up(f"host={primary.host} port={PORT} user=tester")
    primary.stop("fast")
    return primary.data, standby.data


class Trio:
    """A primary, `one`, and its streaming standbys, `two` and `three`."""

    def __init__(self, folder: Path) -> None:
        self.servers = [Postgres(folder / name) for name in ("one", "two", "three")]
        self.one, self.two, self.three = self.servers
        _own(folder, *(server.folder for server in self.servers))
        self.source = f"host={self.one.host} port={PORT} user=tester"
        primary, standby = _made()
        self.one.command("cp", "-a", str(primary), str(self.one.data))
        self.one.start()
        for server in (self.two, self.three):
            server.command("cp", "-a", str(standby), str(server.data))
            with (server.data / "postgresql.auto.conf").open("a") as settings:  # the last one counts
                settings.write(f"primary_conninfo = '{self.source}'\n")
            server.start()
        for server in (self.two, self.three):
            server.receiver()  # else the primary may be stopped before a standby has asked it for the log

    def copy(self, server: Postgres) -> None:
        """Make `server` a standby of the primary, and start it."""
        server.back_up(self.source)
        server.start()

    def end(self, folder: Path) -> None:
        """Stop all and remove what they wrote."""
        for server in self.servers:
            if (server.data / "postmaster.pid").exists():
                server.thaw()
                server.stop()
        shutil.rmtree(folder)
