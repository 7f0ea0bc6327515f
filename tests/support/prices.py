"""Prices that change while they are read: is anything old seen that should not be?"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import requests

from support.client import Site
from support.settings import TIME_FACTOR
from support.stack import Stack

# Through the ORM, in a replica's container, but in a process of its own: to the cache it is one more process.
CHANGE = """
import sys, django
django.setup()
from replication import state
from products.models import Product
for line in sys.stdin:
    key, price = map(int, line.split())
    state.begin()
    Product.objects.filter(pk=key).update(price_amount=price)
    print(key, flush=True)
"""


class Writer:
    """Changes prices in one container of web, one after the other."""

    def __init__(self, stack: Stack) -> None:
        container = stack.containers("web")[0].id
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", container, "python", "-c", CHANGE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10 * TIME_FACTOR)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def change(self, product: int, price: int) -> None:
        """Change one price, and return when it is committed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{product} {price}\n")
        self._process.stdin.flush()
        while (line := self._process.stdout.readline()) and line.strip() != str(product):
            pass  # a line of the log
        assert line, "the writer has ended"


@dataclass(frozen=True)
class Seen:
    """One read: when it was begun, and what it showed."""

    at: float
    product: int
    price: int
    replica: str
    level: str


@dataclass
class Prices:
    """Products whose prices only rise, who changed them when, and what readers saw."""

    site: Site
    products: Sequence[int]
    changes: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def old(self, after: float) -> list[str]:
        """Return the reads that showed a price that had been changed more than `after` seconds before they were
        begun."""
        found = []
        for one in self.seen:
            known = [price for at, price in self.changes.get(one.product, []) if at + after * TIME_FACTOR <= one.at]
            if known and one.price < max(known):
                found.append(f"{one} where {max(known)} was {one.at - self._when(one.product, max(known)):.3f} s old")
        return found

    def _when(self, product: int, price: int) -> float:
        return next(at for at, its in self.changes[product] if its == price)

    def note(self, product: int, price: int) -> None:
        """Take note that the change was answered just now."""
        self.changes.setdefault(product, []).append((time.monotonic(), price))

    @contextlib.contextmanager
    def read(self, threads: int = 4) -> Iterator[None]:
        """Read all the time, through the load balancer, while the block runs."""
        stop = threading.Event()

        def work(number: int) -> None:
            with self.site.session() as caller:
                turn = number
                while not stop.is_set():
                    product = self.products[turn % len(self.products)]
                    turn += 1
                    began = time.monotonic()
                    try:
                        answer = caller.get(f"/api/products/{product}")
                        price = json.loads(answer.text)["price"]["amount"]
                        replica, level = (answer.headers.get(name, "") for name in ("X-Served-By", "X-Cache"))
                        self.seen.append(Seen(began, product, price, replica, level))
                    except (requests.RequestException, KeyError, ValueError) as error:
                        self.errors.append(f"{began}: {error!r}")

        workers = [threading.Thread(target=work, args=[number]) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            stop.set()
            for worker in workers:
                worker.join()
