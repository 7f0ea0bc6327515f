"""Prices that change during reads, to detect stale reads."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import requests

from support.client import Browser, Site
from support.settings import TIME_FACTOR
from support.tokens import bearer

API = "/api/products/{}"
PAGE = "/products/{}/"
API_READS = 8  # one read of eight uses the rate-limited gateway; the others read pages
_SHOWN = re.compile(r'<p class="price">[^<]*')


def change(site: Site | Browser, product: int, price: int) -> None:
    """Change one price as staff. `price` in cents."""
    body = {"price": {"amount": price, "currency": "EUR"}}
    answer = site.request("PATCH", API.format(product), json=body, headers=bearer(1, staff=True))
    assert answer.status_code == 200, answer.text


def shown(answer: requests.Response) -> int:
    """Return the price of a page or of the API's answer in cents. Raises ValueError without one."""
    if answer.status_code != 200:
        raise ValueError(f"{answer.status_code} {answer.text[:200]}")
    if answer.headers["Content-Type"].startswith("application/json"):
        return int(answer.json()["price"]["amount"])
    found = _SHOWN.search(answer.text)
    if not found:
        raise ValueError(f"no price in {answer.text[:200]}")
    return int(re.sub(r"\D", "", found[0]))


@dataclass(frozen=True)
class Seen:
    """One read: its start, and the price that it showed."""

    at: float
    product: int
    price: int
    replica: str
    level: str


@dataclass
class Prices:
    """Products with rising prices, the times of the changes, and all reads."""

    site: Site
    products: Sequence[int]
    changes: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def old(self, after: float, factor: float = TIME_FACTOR) -> list[str]:
        """Return the reads of a price that had changed more than `after` seconds (times `factor`)
        before.
        """
        found = []
        for one in self.seen:
            known = [price for at, price in self.changes.get(one.product, []) if at + after * factor <= one.at]
            if known and one.price < max(known):
                found.append(f"{one} where {max(known)} was {one.at - self._when(one.product, max(known)):.3f} s old")
        return found

    def latest(self) -> dict[int, int]:
        """Return the last price that was read of each product."""
        return {one.product: one.price for one in list(self.seen)}

    def _when(self, product: int, price: int) -> float:
        return next(at for at, its in self.changes[product] if its == price)

    def note(self, product: int, price: int) -> None:
        """Record that the change was answered now."""
        self.changes.setdefault(product, []).append((time.monotonic(), price))

    def _read(self, caller: Browser, path: str, product: int) -> None:
        began = time.monotonic()
        try:
            answer = caller.get(path.format(product))
            replica, level = (answer.headers.get(name, "") for name in ("X-Served-By", "X-Cache"))
            self.seen.append(Seen(began, product, shown(answer), replica, level))
        except (requests.RequestException, ValueError) as error:
            self.errors.append(f"{began}: {error!r}")

    @contextlib.contextmanager
    def read(self, threads: int = 4) -> Iterator[None]:
        """Read continuously through the load balancer during the block."""
        stop = threading.Event()

        def work(number: int) -> None:
            with self.site.session() as caller:
                for turn in itertools.count(number):
                    if stop.is_set():
                        return
                    path = API if turn % API_READS == 0 else PAGE
                    self._read(caller, path, self.products[turn % len(self.products)])

        workers = [threading.Thread(target=work, args=[number]) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            stop.set()
            for worker in workers:
                worker.join()
