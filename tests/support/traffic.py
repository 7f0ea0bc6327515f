"""Readers, writers and deleters of the sample, who remember what they were told and notice every wrong answer."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import requests

from support.people import Shards
from support.settings import TIME_FACTOR

THREADS = 4
RATE = 40.0  # requests a second, all together
PATIENCE = 10.0  # seconds for one answer

type Row = tuple[object, ...] | None  # None: there is none


@dataclass(frozen=True)
class Outcome:
    """One request: what was done to which row, the status, and how long it took in seconds."""

    what: str
    row: int
    status: int
    seconds: float


class Traffic(ABC):
    """Requests at a steady rate for the length of the block.

    `known` has for each row what it may be: one thing, or two after a write whose outcome was not told. Each row is
    used by one thread only, so what it may be is exact.
    """

    table: str
    columns: str

    def __init__(self, shards: Shards, token: str, url: str) -> None:
        self.shards, self.url = shards, url
        self.headers = {"Authorization": f"Bearer {token}"}
        places = shards.places(self.table, self.columns)
        self.known: dict[int, set[Row]] = {id_: {found[0][1]} for id_, found in places.items()}
        self.outcomes: list[Outcome] = []
        self.wrong: list[str] = []
        self._errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._use, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind is None and self._errors:
            raise self._errors[0]

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def one(self, session: requests.Session, dice: random.Random, row: int) -> None:
        """Do one thing to `row`."""

    def ask(self, session: requests.Session, method: str, path: str, row: int, **body: object) -> requests.Response:
        """Make a request about `row`, once, and note what became of it."""
        started = time.monotonic()
        answer = session.request(
            method, self.url + path, json=body or None, headers=self.headers, timeout=PATIENCE * TIME_FACTOR
        )
        self.outcomes.append(Outcome(method, row, answer.status_code, time.monotonic() - started))
        if answer.status_code == 503:
            assert "Retry-After" in answer.headers, answer.text
        return answer

    def saw(self, row: int, seen: Row, what: str) -> None:
        """Note that a reader was shown `seen`."""
        if seen not in self.known[row]:
            self.wrong.append(f"{what} of {row}: {seen}, not {self.known[row]}")
        self.known[row] = {seen}

    def _use(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - which row is asked for is no secret
        mine = sorted(self.known)[number::THREADS]
        interval = THREADS / RATE
        due = time.monotonic() + interval * number / THREADS
        try:
            with requests.Session() as session:
                session.trust_env = False
                while not self._stop.wait(max(0.0, due - time.monotonic())):
                    due = max(due + interval, time.monotonic())
                    self.one(session, dice, dice.choice(mine))
        except BaseException as error:
            self._errors.append(error)

    # ── what came of it ─────────────────────────────────────────────────────────────────────────────
    def failures(self) -> list[str]:
        """Return what was answered 5xx, and what was answered wrongly."""
        return [str(one) for one in self.outcomes if one.status >= 500] + self.wrong

    def summary(self) -> str:
        """Return the counts by outcome, the slowest, and what was wrong."""
        kinds = Counter(f"{one.what} {one.status}" for one in self.outcomes)
        slowest = sorted(self.outcomes, key=lambda one: -one.seconds)[:3]
        return "\n".join([str(dict(kinds)), *map(str, slowest), *self.failures()[:10]])

    def compare(self, holder: int) -> tuple[list[int], list[int], list[str], list[str]]:
        """Return the rows that are missing, too many, different, and shown by others than the shard `holder`."""
        found = self.shards.places(self.table, self.columns)
        missing = [id_ for id_, may in self.known.items() if None not in may and id_ not in found]
        extra = [id_ for id_ in found if not self.known.get(id_, {None}) - {None}]
        differing = [
            f"{id_}: {places[0][1]}, not {self.known[id_]}"
            for id_, places in found.items()
            if id_ in self.known and places[0][1] not in self.known[id_] and id_ not in extra
        ]
        misplaced = [f"{id_}: {places}" for id_, places in found.items() if [one for one, _ in places] != [holder]]
        return missing, extra, differing, misplaced


class Users(Traffic):
    """Reads users, renames them, deletes them."""

    table, columns = "users_user", "name"

    def one(self, session: requests.Session, dice: random.Random, row: int) -> None:
        """Mostly read, often rename, sometimes delete."""
        path = f"/api/users/{row}"
        kind = dice.random()
        if kind < 0.6:
            answer = self.ask(session, "GET", path, row)
            if answer.status_code == 200:
                self.saw(row, (answer.json()["name"],), "GET")
            elif answer.status_code == 404:
                self.saw(row, None, "GET")
        elif kind < 0.95:
            name = f"name {dice.getrandbits(32)}"
            answer = self.ask(session, "PATCH", path, row, name=name)
            if answer.status_code == 200:
                self.known[row] = {(name,)}
            elif answer.status_code == 404:
                self.saw(row, None, "PATCH")
            else:
                self.known[row] = self.known[row] | {(name,)} if self.known[row] != {None} else {None}
        else:
            answer = self.ask(session, "DELETE", path, row)
            if answer.status_code == 204:
                self.known[row] = {None}
            elif answer.status_code == 404:
                self.saw(row, None, "DELETE")
            else:
                self.known[row] = self.known[row] | {None}
