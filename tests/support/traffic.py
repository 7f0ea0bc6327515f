"""Readers, writers and deleters of the sample, which record all answers and detect wrong ones."""

from __future__ import annotations

import random
import threading
import time
import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import psycopg
import requests

from support.callers import Callers
from support.people import ORDER, Shards
from support.settings import TIME_FACTOR
from support.sql import Connection, connect, shard_hosts
from support.tokens import bearer

THREADS = 4
RATE = 40.0  # requests a second in total
PATIENCE = 10.0  # seconds for one answer
MOVED = "SB001"  # the SQLSTATE of the fence

STAFF = bearer(0, staff=True)  # valid for fifteen minutes, longer than any test
type Row = tuple[object, ...] | None  # None: the row does not exist


@dataclass(frozen=True)
class Outcome:
    """One request: its action, row, status and duration in seconds."""

    what: str
    row: int
    status: int
    seconds: float


class Traffic(Callers):
    """Requests at a steady rate for the length of the block.

    `known` has the possible states of each row: one, or two after a write with an unknown outcome.
    Only one thread uses a row, so its states are exact.
    """

    table: str
    columns: str

    def __init__(self, shards: Shards, url: str) -> None:
        self.shards, self.url = shards, url
        places = shards.places(self.table, self.columns)
        self.known: dict[int, set[Row]] = {id_: {found[0][1]} for id_, found in places.items()}
        self.made: list[int] = []
        self.outcomes: list[Outcome] = []
        self.wrong: list[str] = []
        self._errors: list[BaseException] = []
        super().__init__(THREADS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._errors:
            raise self._errors[0]

    # ── requests ────────────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def one(self, session: requests.Session, dice: random.Random, row: int) -> None:
        """Send one random request about `row`."""

    def ask(
        self,
        session: requests.Session,
        method: str,
        path: str,
        row: int,
        *,
        body: object = None,
        headers: Mapping[str, str] = STAFF,
    ) -> requests.Response:
        """Send one request about `row`, and record its outcome."""
        started = time.monotonic()
        answer = session.request(
            method, self.url + path, json=body, headers=dict(headers), timeout=PATIENCE * TIME_FACTOR
        )
        self.outcomes.append(Outcome(method, row, answer.status_code, time.monotonic() - started))
        if answer.status_code == 503:
            assert "Retry-After" in answer.headers, answer.text
        return answer

    def saw(self, row: int, seen: Row, what: str) -> None:
        """Record that a reader got `seen`."""
        if seen not in self.known[row]:
            self.wrong.append(f"{what} of {row}: {seen}, not {self.known[row]}")
        self.known[row] = {seen}

    def _run(self, number: int) -> None:
        dice = random.Random(number)
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
        finally:
            self.leave()

    def leave(self) -> None:
        """Release the resources of a thread."""

    # ── results ───────────────────────────────────────────────────────────────────────────────
    def failures(self) -> list[str]:
        """Return the answers with 5xx, and the wrong ones."""
        return [str(one) for one in self.outcomes if one.status >= 500] + self.wrong

    def summary(self) -> str:
        """Return the counts by outcome, the slowest, and the wrong answers."""
        kinds = Counter(f"{one.what} {one.status}" for one in self.outcomes)
        slowest = sorted(self.outcomes, key=lambda one: -one.seconds)[:3]
        return "\n".join([str(dict(kinds)), *map(str, slowest), *self.failures()[:10]])

    def compare(self, holder: int) -> tuple[list[int], list[int], list[str], list[str]]:
        """Return the missing, extra and different rows, and those not on the shard `holder`."""
        found = self.shards.places(self.table, self.columns, self.made)
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
            answer = self.ask(session, "PATCH", path, row, body={"name": name})
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


class Orders(Traffic):
    """Reads orders, places new ones, and deletes some by direct SQL on the shard of the map."""

    table, columns = "orders_order", "user_id, total"

    def __init__(self, shards: Shards, url: str, product: int) -> None:
        super().__init__(shards, url)
        self._product = product
        self._map = threading.local()

    def one(self, session: requests.Session, dice: random.Random, row: int) -> None:
        """Mostly read, often place an order for the same user, sometimes delete."""
        kind = dice.random()
        if kind < 0.6:
            answer = self.ask(session, "GET", f"/api/orders/{row}", row)
            if answer.status_code == 200:
                self.saw(row, (answer.json()["user_id"], answer.json()["total"]), "GET")
            elif answer.status_code == 404:
                self.saw(row, None, "GET")
        elif kind < 0.85:
            self._place(session, row & ~ORDER, uuid.uuid4().hex)
        else:
            self._delete(row)

    def _place(self, session: requests.Session, user: int, key: str) -> None:
        headers = bearer(user) | {"Idempotency-Key": key}
        body = {"items": [{"product_id": self._product, "quantity": 1}]}
        for _ in range(2):  # without an answer a client retries with the same key, and gets the same order
            answer = self.ask(session, "POST", "/api/orders/", user, body=body, headers=headers)
            if answer.status_code in {200, 201}:
                order = answer.json()
                self.known[order["id"]] = {(user, order["total"])}
                self.made.append(order["id"])
                return

    def _delete(self, row: int) -> None:
        self._connections()  # before the clock starts: connecting is slow
        started = time.monotonic()
        status = 503
        while status == 503 and time.monotonic() - started < PATIENCE * TIME_FACTOR:
            try:
                found = self._write(row)
            except psycopg.Error as error:
                if error.sqlstate != MOVED:
                    raise
                time.sleep(0.05)  # between two attempts, as in the application; the deadline is above
            else:
                status = 204 if found else 404
        self.outcomes.append(Outcome("DELETE", row, status, time.monotonic() - started))
        if status == 404:
            self.saw(row, None, "DELETE")
        elif status == 204:
            self.known[row] = {None}

    def _write(self, row: int) -> bool:
        """Delete an order and its items on the map's shard; return whether it existed."""
        mine = self._connections()
        held = mine["map"].execute("SELECT shard FROM sharding_bucketmap WHERE bucket = %s", [row >> 11 & 1023])
        shard = mine[str(held.fetchall()[0][0])]
        with shard.transaction():
            shard.execute("DELETE FROM orders_orderitem WHERE order_id = %s", [row])
            return shard.execute("DELETE FROM orders_order WHERE id = %s", [row]).rowcount == 1

    def leave(self) -> None:
        """Close this thread's connections."""
        for one in getattr(self._map, "open", {}).values():
            one.close()

    def _connections(self) -> dict[str, Connection]:
        if not hasattr(self._map, "open"):
            stack = self.shards.stack
            self._map.open = {"map": connect(stack, "main", "orders", "orders_app")} | {
                str(number): connect(stack, host, f"orders_shard_{number}", "orders_app")
                for number, host in shard_hosts().items()
            }
        found: dict[str, Connection] = self._map.open
        return found
