"""A primary and a streaming standby on this machine, for tests that need no running stack."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import psycopg

from support.settings import TIME_FACTOR

BIN = Path("/usr/lib/postgresql/17/bin")
PORT, USER = "5432", "mysite"


class Server:
    """One server in its own folder, which is also its socket directory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        folder.mkdir()
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            os.chown(folder, postgres.pw_uid, postgres.pw_gid)

    def command(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; root runs it as the user postgres."""
        lead = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*lead, str(BIN / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60 * TIME_FACTOR, cwd=self.folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c port={PORT} -c fsync=off"
        self.command("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """Stop it at once, as after a power failure."""
        self.command("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", "immediate")

    def ask(self, database: str, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of one statement, over a new connection."""
        with psycopg.connect(
            host=str(self.folder), port=PORT, user=USER, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []


class Pair:
    """A primary, `one`, and its streaming standby, `two`."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = Server(folder / "one"), Server(folder / "two")
        self.one.command("initdb", "-D", str(self.one.data), "-U", USER, "-A", "trust", "--no-sync")
        self.one.start()
        source = f"host={self.one.folder} port={PORT} user={USER}"
        self.two.command(
            "pg_basebackup",
            "-D",
            str(self.two.data),
            "-R",
            "-c",
            "fast",
            "--no-sync",
            "-d",
            f"{source} dbname=postgres",
        )
        self.two.start()

    def end(self) -> None:
        """Stop both."""
        for server in (self.two, self.one):
            if (server.data / "postmaster.pid").exists():
                server.stop()
