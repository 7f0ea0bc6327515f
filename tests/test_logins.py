"""Refresh, logout and new passwords through the gateway: every service knows within a minute."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from support.load import at_once
from support.services import PASSWORD, Person, Services
from support.wait import eventually

type Make = Callable[[], Person]


def log_in(services: Services, who: Person, password: str = PASSWORD) -> dict[str, Any]:
    """Log in once more, and return the answer."""
    answer = services.users.post("/api/users/token", json={"email": who.email, "password": password})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def asked(services: Services, who: Person, token: str) -> set[int]:
    """Return each service's status for a token: a 403 of products also accepts the token."""
    headers = {"Authorization": f"Bearer {token}"}
    return {
        services.users.get(f"/api/users/{who.id}", headers=headers).status_code,
        services.orders.get("/api/orders/", headers=headers).status_code,
        services.products.request("DELETE", "/api/products/1", headers=headers).status_code,
    }


def test_a_logout_reaches_every_service_within_a_minute_and_ends_no_other_login(
    services: Services, person: Make
) -> None:
    who = person()
    mine, other = log_in(services, who), log_in(services, who)
    assert asked(services, who, mine["token"]) == {200, 403}
    ended = services.users.post("/api/users/logout", json={"refresh_token": mine["refresh_token"]})
    assert ended.status_code == 204
    eventually(
        "401 at every service", lambda: asked(services, who, mine["token"]), lambda found: found == {401}, within=60
    )
    again = services.users.post("/api/users/token/refresh", json={"refresh_token": mine["refresh_token"]})
    assert again.status_code == 401
    assert asked(services, who, other["token"]) == {200, 403}


def test_refreshes_at_once_get_one_successor_and_an_old_token_ends_the_login_everywhere(
    services: Services, person: Make
) -> None:
    who = person()
    first = log_in(services, who)["refresh_token"]

    def refresh(token: str) -> Any:
        return services.users.post("/api/users/token/refresh", json={"refresh_token": token})

    answers = at_once(10, 5, lambda _: refresh(first))
    assert {answer.status_code for answer in answers} == {200}
    second = answers[0].json()
    third = refresh(second["refresh_token"]).json()
    assert refresh(first).status_code == 401
    assert refresh(third["refresh_token"]).status_code == 401
    eventually(
        "401 at every service", lambda: asked(services, who, third["token"]), lambda found: found == {401}, within=60
    )


def test_a_new_password_ends_the_other_logins_everywhere(services: Services, person: Make) -> None:
    who = person()
    mine = log_in(services, who)
    changed = services.users.post(
        f"/api/users/{who.id}/password",
        json={"current_password": PASSWORD, "new_password": "another battery"},
        headers={"Authorization": f"Bearer {mine['token']}"},
    )
    assert changed.status_code == 200, changed.text
    for old in (mine["token"], who.token):
        eventually("401 at every service", partial(asked, services, who, old), lambda found: found == {401}, within=60)
    assert asked(services, who, changed.json()["token"]) == {200, 403}
    services.users.request(
        "DELETE", f"/api/users/{who.id}", headers={"Authorization": f"Bearer {changed.json()['token']}"}
    )
