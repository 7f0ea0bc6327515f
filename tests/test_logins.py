"""Refresh, logout and new passwords through the gateway: every service knows within a minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from support.load import at_once
from support.services import PASSWORD, Person, Services, leftovers, register
from support.wait import eventually


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


@dataclass(frozen=True)
class Ended:
    """Logins that ended in three ways: tokens that every service must reject soon."""

    services: Services
    person: Person
    renewed: Person  # a user with a new password
    mine: dict[str, Any]  # logged out
    other: dict[str, Any]  # of the same user, and still valid
    third: dict[str, Any]  # of a login whose used refresh token came again
    before: list[str]  # the tokens from before a new password
    after: str  # the token from after it

    def assert_rejected(self, who: Person, token: str) -> None:
        """Wait until no service accepts the token."""
        look = partial(asked, self.services, who, token)
        eventually("401 at every service", look, lambda found: found == {401}, within=60)


@pytest.fixture(scope="module")
def ended(services: Services) -> Iterator[Ended]:
    """All three at once, since each takes seconds to arrive everywhere."""
    who, renewed = register(services), register(services)
    mine, other, first, old = (log_in(services, one) for one in (who, who, who, renewed))
    assert asked(services, who, mine["token"]) == {200, 403}
    assert services.users.post("/api/users/logout", json={"refresh_token": mine["refresh_token"]}).status_code == 204

    used = first["refresh_token"]
    answers = at_once(10, 5, lambda _: refresh(services, used))
    assert {answer.status_code for answer in answers} == {200}
    third = refresh(services, answers[0].json()["refresh_token"]).json()
    assert refresh(services, used).status_code == 401

    changed = services.users.post(
        f"/api/users/{renewed.id}/password",
        json={"current_password": PASSWORD, "new_password": "another battery"},
        headers={"Authorization": f"Bearer {old['token']}"},
    )
    assert changed.status_code == 200, changed.text
    new = changed.json()["token"]
    yield Ended(services, who, renewed, mine, other, third, [old["token"], renewed.token], new)
    leftovers(services, [replace(who, token=other["token"]), replace(renewed, token=new)])


def refresh(services: Services, token: str) -> Any:
    """Return the answer to a refresh token."""
    return services.users.post("/api/users/token/refresh", json={"refresh_token": token})


def test_a_logout_reaches_every_service_within_a_minute_and_ends_no_other_login(ended: Ended) -> None:
    ended.assert_rejected(ended.person, ended.mine["token"])
    assert refresh(ended.services, ended.mine["refresh_token"]).status_code == 401
    assert asked(ended.services, ended.person, ended.other["token"]) == {200, 403}


def test_refreshes_at_once_get_one_successor_and_an_old_token_ends_the_login_everywhere(ended: Ended) -> None:
    assert refresh(ended.services, ended.third["refresh_token"]).status_code == 401
    ended.assert_rejected(ended.person, ended.third["token"])


def test_a_new_password_ends_the_other_logins_everywhere(ended: Ended) -> None:
    for old in ended.before:
        ended.assert_rejected(ended.renewed, old)
    assert asked(ended.services, ended.renewed, ended.after) == {200, 403}
