"""`/api/users/…` of the contract, asked at the service itself."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from support.client import Site, assert_problem
from support.load import at_once
from support.people import Shards
from support.probe import Probe
from support.services import PASSWORD, Person, Services, but_status, fresh_email, place, register, staff
from support.settings import MAIN_NODES, SHARD_NODES, TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

type Make = Callable[[], Person]

SHARDS = ((",".join(MAIN_NODES), "users_shard_0"), (SHARD_NODES[0], "users_shard_1"), (SHARD_NODES[1], "users_shard_2"))


def test_a_user_registers_logs_in_and_sees_the_own_record(services: Services, person: Make) -> None:
    who = person()
    answer = services.users.get(f"/api/users/{who.id}", headers=who.headers)
    assert answer.status_code == 200
    assert answer.json() == {"id": who.id, "email": who.email, "name": "Test"}
    assert who.id < 2**53


def test_an_address_is_one_users_under_fifty_registrations_at_once(services: Services, inside: Services) -> None:
    email = fresh_email()
    body = {"email": email, "name": "Test", "password": PASSWORD}
    answers = at_once(50, 20, lambda _: inside.users.post("/api/users/", json=body))
    assert sorted({answer.status_code for answer in answers}) == [201, 409]
    assert sum(answer.status_code == 201 for answer in answers) == 1
    token = services.users.post("/api/users/token", json={"email": email, "password": PASSWORD}).json()["token"]
    made = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    who = Person(made, email, token)
    assert services.users.request("DELETE", f"/api/users/{who.id}", headers=who.headers).status_code == 204


def test_another_user_sees_and_changes_nothing(services: Services, person: Make) -> None:
    who, other = person(), person()
    for method, path in (
        ("GET", f"/api/users/{who.id}"),
        ("PATCH", f"/api/users/{who.id}"),
        ("DELETE", f"/api/users/{who.id}"),
        ("GET", f"/api/users/{who.id}/orders"),
    ):
        options = {"json": {"name": "changed"}} if method == "PATCH" else {}
        assert_problem(services.users.request(method, path, headers=other.headers, **options), 404)
    assert_problem(services.users.get("/api/users/", headers=other.headers), 403)
    assert services.users.get(f"/api/users/{who.id}", headers=who.headers).json()["name"] == "Test"


def part(value: object) -> str:
    """Return one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_that_was_not_signed_by_users_is_401_at_every_service(services: Services, person: Make) -> None:
    who = person()
    head, claims, signature = who.token.split(".")
    known = json.loads(base64.urlsafe_b64decode(head + "=="))
    mine = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = part(mine | {"staff": True})
    for token in (
        "nonsense",
        f"{head}.{forged}.{signature}",
        f"{part(known | {'alg': 'none'})}.{forged}.",
        f"{part(known | {'alg': 'HS256'})}.{forged}.{signature}",
        f"{part(known | {'kid': 'unknown'})}.{claims}.{signature}",
    ):
        headers = {"Authorization": f"Bearer {token}"}
        assert_problem(services.users.get(f"/api/users/{who.id}", headers=headers), 401)
        assert_problem(services.orders.get("/api/orders/", headers=headers), 401)
        assert_problem(services.products.request("DELETE", "/api/products/1", headers=headers), 401)
    without = services.users.get(f"/api/users/{who.id}")
    assert_problem(without, 401)
    assert without.headers["WWW-Authenticate"] == "Bearer"


def test_staff_page_through_users_of_every_shard(services: Services, person: Make, staff: Person, probe: Probe) -> None:
    made = {person().id for _ in range(12)}

    def pages() -> list[int]:
        found: list[int] = []
        cursor = "0"
        while cursor:
            page = services.users.get(f"/api/users/?limit=50&cursor={cursor}", headers=staff.headers).json()
            assert page["partial"] is False
            found += [one["id"] for one in page["items"]]
            cursor = page["next"]
        return found

    # The replicas that are read have the new ones a moment later.
    found = eventually("the new users in the list", pages, lambda ids: made <= set(ids), within=10)
    assert found == sorted(set(found))
    count = "SELECT count(*) FROM users_user"
    counts = probe.sql_each(
        [(f"{host} target_session_attrs=read-write", database, "users_app", count) for host, database in SHARDS]
    )
    assert sum(map(int, counts)) == len(found)


def test_a_guesser_is_rate_limited(services: Services) -> None:
    email = fresh_email()
    answers = [services.users.post("/api/users/token", json={"email": email, "password": "guess"}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_the_page_of_a_user_has_the_orders(services: Services, person: Make, product: int) -> None:
    who = person()
    order = place(services, who, "one", [{"product_id": product, "quantity": 1}]).json()
    page = services.users.get(f"/api/users/{who.id}/orders", headers=who.headers).json()
    assert page | {"orders": [but_status(one) for one in page["orders"]]} == {
        "user": {"id": who.id, "email": who.email, "name": "Test"},
        "orders": [but_status(order)],
        "orders_available": True,
    }


def test_make_staff_prints_a_token_and_nothing_else_each_time(services: Services) -> None:
    first, second = staff(), staff()
    for one in (first, second):
        assert services.users.get("/api/users/?limit=1", headers=one.headers).status_code == 200


def test_each_service_serves_its_openapi_document(services: Services) -> None:
    for name, site in vars(services).items():
        document = site.get(f"/api/{name}/openapi.json").json()
        assert document["openapi"].startswith("3.")
        assert all(path.startswith(f"/api/{name}/") for path in document["paths"])


def test_each_service_is_healthy_and_serves_its_metrics_inside(inside: Services) -> None:
    for name, site in vars(inside).items():
        assert site.get("/health/").json() == {"status": "healthy", "database": "ok", "cache": "ok"}, name
        assert site.get("/health/live").status_code == 200
        assert "django_http_requests_total" in site.get("/metrics").text
        assert site.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 404


def test_a_request_keeps_its_id(services: Services) -> None:
    answer = services.users.get("/api/users/1", headers={"X-Request-ID": "tests-1"})
    assert answer.headers["X-Request-ID"] == "tests-1"
    assert answer.json()["request_id"] == "tests-1"


# ── failures ──────────────────────────────────────────────────────────────────────────────────────
def orders_of(site: Site, who: Person) -> tuple[float, dict[str, object]]:
    """Return the duration of a user's page, and the page."""
    started = time.monotonic()
    answer = site.get(f"/api/users/{who.id}/orders", headers=who.headers)
    assert answer.status_code == 200
    page: dict[str, object] = answer.json()
    return time.monotonic() - started, page


@pytest.mark.failure
@pytest.mark.parametrize("how", ["stop", "pause"])
def test_without_the_orders_service_a_users_page_comes_within_a_second(
    broken: Stack, services: Services, person: Make, how: str
) -> None:
    who = person()
    assert orders_of(services.users, who)[1]["orders_available"] is True
    getattr(broken, how)("orders")
    for _ in range(5):
        took, page = orders_of(services.users, who)
        assert took < 1.0 * TIME_FACTOR
        assert (page["orders"], page["orders_available"]) == ([], False)
    broken.start("orders")
    eventually(
        "the orders to be back",
        lambda: orders_of(services.users, who)[1]["orders_available"],
        within=20,
    )


@pytest.mark.failure
@pytest.mark.parametrize("how", ["stop", "pause"])
def test_without_a_shard_its_users_get_503_in_time_and_all_others_are_served(
    broken: Stack, services: Services, inside: Services, staff: Person, how: str
) -> None:
    shards = Shards(broken, "users")
    away = set(shards.held_by(1))
    shards.close()
    people = [register(services) for _ in range(20)]
    while not [one for one in people if one.id >> 11 & 1023 in away]:  # each gets a bucket by chance
        people.append(register(services))
    getattr(broken, how)(SHARD_NODES[0])

    def ask(number: int) -> tuple[int, float, str]:
        started = time.monotonic()
        answer = services.users.get(f"/api/users/{people[number].id}", headers=people[number].headers)
        if answer.status_code == 503:
            assert_problem(answer, 503)
            assert answer.headers["Retry-After"] == "1"
        return answer.status_code, time.monotonic() - started, answer.text

    lost = next(number for number, one in enumerate(people) if one.id >> 11 & 1023 in away)
    # A hung server is detected after 1.5 s; until then its users wait, and may get 504.
    first, took, _ = ask(lost)
    assert first in {503, 504}
    assert took < 2.5 * TIME_FACTOR
    eventually("503", lambda: ask(lost)[0], lambda status: status == 503, within=5)
    # Several at once: no request queues behind those of the lost shard.
    for turn, (status, took, said) in enumerate(at_once(5 * len(people), 8, lambda turn: ask(turn % len(people)))):
        bucket = people[turn % len(people)].id >> 11 & 1023
        assert status == (503 if bucket in away else 200), f"{bucket}: {status} {said}"
        assert took < 1.0 * TIME_FACTOR
    started = time.monotonic()
    page = services.users.get("/api/users/?limit=50", headers=staff.headers)
    assert time.monotonic() - started < 2 * TIME_FACTOR
    assert (page.status_code, page.json()["partial"]) == (200, True)
    assert inside.users.get("/health/").json()["status"] == "degraded"
    broken.start(SHARD_NODES[0])
    eventually(
        "every user to be served again",
        lambda: {ask(number)[0] for number in range(len(people))},
        lambda statuses: statuses == {200},
        within=40,
    )
    for who in people:
        services.users.request("DELETE", f"/api/users/{who.id}", headers=who.headers)
