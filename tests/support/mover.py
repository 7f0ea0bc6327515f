"""The command `reshard` in its own container: started, held at a step, and killed there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from support.people import Shards
from support.sql import Connection, connect
from support.stack import run
from support.wait import eventually

STEPS = ("planned", "copying", "catching_up", "blocked", "verified", "flipped", "active")
LOCK = 7_241_002  # the advisory lock of a move
_NEWEST = "SELECT step FROM sharding_move WHERE id = (SELECT max(id) FROM sharding_move) FOR UPDATE"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE {})"


class Mover:
    """`reshard` for one context."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._name = f"{shards.stack.project}-mover"

    def _command(self, action: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return ("migrate", "python", "-m", "django", "reshard", action, "--context", self._shards.context, *arguments)

    def run(self, action: str, *arguments: str) -> str:
        """Run it to its end and return its output."""
        return run("docker", "compose", "run", "--rm", "-T", *self._command(action, arguments), timeout=180)

    def start(self, action: str, *arguments: str) -> None:
        """Start it in the background."""
        run("docker", "rm", "--force", self._name, check=False)
        run("docker", "compose", "run", "--detach", "--name", self._name, *self._command(action, arguments))

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until the databases have released its locks."""
        run("docker", "kill", self._name)
        eventually("the locks of the killed mover to be gone", self._locks, lambda seen: seen == 0, within=10)

    def finish(self) -> str:
        """Wait for its end, which must succeed, and return its output."""
        status = run("docker", "wait", self._name, timeout=180).strip()
        said = run("docker", "logs", self._name)
        run("docker", "rm", "--force", self._name, check=False)
        assert status == "0", said
        return said

    def _locks(self) -> int:
        question = (
            f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK}"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        rows = [one.execute(question).fetchone() for one in (self._shards.map, *self._shards.by_number.values())]
        return sum(row[0] for row in rows if row)

    @contextlib.contextmanager
    def held(self) -> Iterator[Hold]:
        """Stop each move before its next step during the block, until the hold allows it."""
        context = self._shards.context
        both = [connect(self._shards.stack, "main", context, f"{context}_owner") for _ in range(2)]
        row = self._shards.map.execute("SELECT coalesce(max(id), 0) FROM sharding_move").fetchone()
        hold = Hold(self._shards.map, both, row[0] if row else 0)
        try:
            yield hold
            hold.joined()
        finally:
            for one in both:
                one.close()


class Hold:
    """Two connections that lock the row of the newest move in turn: the waiting one is next."""

    def __init__(self, observer: Connection, both: list[Connection], before: int) -> None:
        self._observer, self._both, self._before = observer, both, before
        self._next: threading.Thread | None = None
        self._step = ""

    def until(self, step: str) -> None:
        """Wait until the newest move has just begun `step`, and hold it there.

        A slow move returns from `blocked`, and a resumed one from `verified`, since a migration may
        have written. Then it reaches the step again.
        """
        if self._next is None:
            question = f"SELECT count(*) FROM sharding_move WHERE id > {self._before}"
            eventually("a move", lambda: self._one(question), within=30, interval=0.01)
            self._lock()
        for _ in range(20):
            self.joined()
            if self._step == step or STEPS.index(self._step) > STEPS.index(step):
                break
            self.release()
        assert self._step == step, f"the move is at {self._step}, not at {step}"

    def release(self) -> None:
        """Wait until the mover wants the next step, allow it, and hold the mover there."""
        waiting = _WAITING.format("query LIKE 'UPDATE sharding_move%'")
        eventually("the mover to want the next step", lambda: self._one(waiting), within=60, interval=0.02)
        old = self._both[1]
        self._next = threading.Thread(target=self._lock)
        self._next.start()
        queued = _WAITING.format("query LIKE 'SELECT step FROM sharding_move%'")
        eventually("the second hold to be in the queue", lambda: self._one(queued), within=10, interval=0.01)
        old.execute("COMMIT")

    def joined(self) -> None:
        """Wait until the row is locked again."""
        if self._next is not None:
            self._next.join(60)
            assert not self._next.is_alive(), "the mover did not continue"

    def _lock(self) -> None:
        holder = self._both.pop(0)
        self._both.append(holder)  # the last one holds
        holder.execute("BEGIN")
        row = holder.execute(_NEWEST).fetchone()
        assert row is not None
        self._step = str(row[0])

    def _one(self, question: str) -> int:
        row = self._observer.execute(question).fetchone()
        return int(row[0]) if row else 0
