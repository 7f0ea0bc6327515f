"""The three services, through the load balancer and the gateway, or each at its container."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import requests

from support.client import Site
from support.settings import TIME_FACTOR
from support.stack import Stack, run

PORTS = {"users": 8001, "products": 8002, "orders": 8003}
PASSWORD = "correct horse battery"
STAFF_AGE = 300.0  # seconds

_staff: list[tuple[float, Person]] = []  # the last token, with its time


@dataclass(frozen=True)
class Services:
    """One `Site` for each service."""

    users: Site
    products: Site
    orders: Site

    @classmethod
    def of(cls, stack: Stack) -> Services:
        """Return the services of the running stack."""
        front = Site(stack.published(stack.load_balancer, 8080))
        return cls(users=front, products=front, orders=front)

    @classmethod
    def inside(cls, stack: Stack) -> Services:
        """Return each service at its first container, past gateway and load balancer."""
        return cls(**{name: Site(port, host=stack.container(name).address("app")) for name, port in PORTS.items()})


@dataclass(frozen=True)
class Person:
    """A user with an id and a token."""

    id: int
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each call."""
        return {"Authorization": f"Bearer {self.token}"}


def fresh_email() -> str:
    """Return an unused address."""
    return f"tests-{secrets.token_hex(8)}@example.org"


def register(services: Services, email: str = "") -> Person:
    """Register a user and log in."""
    email = email or fresh_email()
    made = services.users.post("/api/users/", json={"email": email, "name": "Test", "password": PASSWORD})
    assert made.status_code == 201, made.text
    answer = services.users.post("/api/users/token", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Person(made.json()["id"], email, answer.json()["token"])


def staff() -> Person:
    """Return the demo's staff user, as `make staff` gives it.

    A token is valid for 15 minutes, less than all tests take, so each is reused for five minutes.
    """
    if not _staff or time.monotonic() - _staff[0][0] > STAFF_AGE:
        token = run("make", "--no-print-directory", "staff").strip()
        assert token.count(".") == 2, token
        assert not token.split()[1:], token
        _staff[:] = [(time.monotonic(), Person(0, "staff@shop.example", token))]
    return _staff[0][1]


def place(services: Services, who: Person, key: str, items: list[dict[str, Any]]) -> requests.Response:
    """Post an order."""
    return services.orders.post("/api/orders/", json={"items": items}, headers={**who.headers, "Idempotency-Key": key})


def place_in_the_end(services: Services, who: Person, key: str, items: list[dict[str, Any]]) -> int:
    """Post an order with retries, as a client should, and return the status.

    After a 503 or without an answer it retries with the same key, so only one order exists.
    """
    until = time.monotonic() + 60 * TIME_FACTOR
    while True:
        answer = place(services, who, key, items)
        if answer.status_code not in {503, 504} or time.monotonic() > until:
            return answer.status_code
        time.sleep(float(answer.headers.get("Retry-After", "1")))  # as the answer demands


def but_status(order: dict[str, Any]) -> dict[str, Any]:
    """Return an order without its status, which changes a moment after it was placed."""
    return {name: value for name, value in order.items() if name != "status"}


def leftovers(services: Services, people: list[Person]) -> None:
    """Delete the users of a test."""
    for one in people:
        services.users.request("DELETE", f"/api/users/{one.id}", headers=one.headers)
