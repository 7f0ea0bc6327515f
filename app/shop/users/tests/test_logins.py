"""Logins: refresh, logout and a new password, and their end in every process."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings
from scaleout.identity import revocation, tokens
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.shard_map import current

from shop.users import accounts, logins, tasks
from shop.users.models import Login, User

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *ALIASES]),
    pytest.mark.usefixtures("shards"),
]
USERS = "/api/users/"
PASSWORD = "correct horse"
LATER = logins.REPEAT + timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = "shop.users.tests.urls"
    monkeypatch.setattr(revocation, "revoked", revocation.Revoked())


@pytest.fixture
def ada() -> User:
    return accounts.register("ada@example.org", "Ada", PASSWORD)


def post(path: str, body: Any = None, token: str = "") -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = "" if body is None else json.dumps(body)
    return Client().post(USERS + path, data, content_type="application/json", headers=headers)


def log_in(password: str = PASSWORD) -> dict[str, Any]:
    answer = post("token", {"email": "ada@example.org", "password": password})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def refresh(given: dict[str, Any]) -> Any:
    return post("token/refresh", {"refresh_token": given["refresh_token"]})


def status(user: User, given: dict[str, Any]) -> int:
    headers = {"authorization": f"Bearer {given['token']}"}
    return Client().get(f"{USERS}{user.id}", headers=headers).status_code


def age(**fields: Any) -> None:
    """Make each login older."""
    for login in Login.objects.scatter().items:
        Login.objects.filter(pk=login.pk).update(**fields)


def another_process() -> revocation.Revoked:
    """Return the revocations that a new process knows."""
    return revocation.Revoked()


def of(given: dict[str, Any]) -> str:
    return tokens.verify(given["token"]).login


# ── refreshing ────────────────────────────────────────────────────────────────────────────────────
def test_a_refresh_token_gives_another_token_and_the_next_refresh_token(ada: User) -> None:
    first = log_in()
    assert first["refresh_expires_in"] == 30 * 86_400
    second = refresh(first)
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert tokens.verify(second.json()["token"]) == tokens.Caller(user_id=ada.id)
    assert refresh(second.json()).status_code == 200


def test_an_old_refresh_token_ends_the_login_for_all_who_have_a_token_of_it(ada: User) -> None:
    first, other = log_in(), log_in()
    second = refresh(first).json()
    third = refresh(second).json()
    assert refresh(first).status_code == 401  # two generations old, however soon
    assert refresh(third).status_code == 401
    assert status(ada, third) == 401
    assert of(other) != str(Login.objects.for_user(ada.id).get(revoked_at__isnull=False).pk)
    assert (status(ada, other), refresh(other).status_code) == (200, 200)


def test_the_previous_token_gets_the_same_successor_for_half_a_minute_and_then_ends_the_login(ada: User) -> None:
    first = log_in()
    second, again = refresh(first).json(), refresh(first).json()
    assert tokens.read_refresh(second["refresh_token"]) == tokens.read_refresh(again["refresh_token"])
    age(refreshed_at=Now() - LATER)
    assert refresh(first).status_code == 401
    assert refresh(second).status_code == 401


def test_twenty_refreshes_at_once_raise_the_generation_once(ada: User) -> None:
    first = log_in()

    def attempt(_number: int) -> tuple[int, int]:
        try:
            return tokens.read_refresh(refresh(first).json()["refresh_token"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(attempt, range(20)))
    assert [generation for _, generation in found] == [2]
    assert Login.objects.for_user(ada.id).get().revoked_at is None


def test_a_refresh_sees_that_the_user_became_staff_or_is_gone(ada: User) -> None:
    first = log_in()
    User.objects.filter(pk=ada.id).update(is_staff=True)
    second = refresh(first).json()
    assert tokens.verify(second["token"]).is_staff
    User.objects.filter(pk=ada.id).delete()  # as a replica of the release before does it
    assert refresh(second).status_code == 401
    assert status(ada, second) == 401


def test_no_other_token_refreshes_and_a_refresh_token_opens_nothing(ada: User) -> None:
    first = log_in()
    for token in (first["token"], tokens.for_service("users"), tokens.for_service("refresh"), "nonsense", "", "a.b.c"):
        answer = post("token/refresh", {"refresh_token": token})
        assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
        assert post("logout", {"refresh_token": token}).status_code == 401
    assert status(ada, {"token": first["refresh_token"]}) == 401
    assert refresh(first).status_code == 200


def test_a_user_has_twenty_logins_and_another_ends_the_least_recently_used(ada: User) -> None:
    given = [log_in() for _ in range(20)]
    given[0] = refresh(given[0]).json()
    log_in()
    assert Login.objects.for_user(ada.id).count() == 20
    assert [refresh(one).status_code for one in given] == [200, 401, *[200] * 18]


def test_a_bucket_that_is_moving_refuses_a_refresh_for_now_and_ends_nothing(ada: User) -> None:
    first = log_in()
    with connections[current().alias_for(ada.id)].cursor() as cursor:
        cursor.execute("UPDATE sharding_bucket SET state = 'blocked' WHERE bucket = %s", [bucket_of(ada.id)])
        answer = refresh(first)
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        assert status(ada, first) == 200
        cursor.execute("UPDATE sharding_bucket SET state = 'active' WHERE bucket = %s", [bucket_of(ada.id)])
    current().expire()
    assert refresh(first).status_code == 200


# ── logging out ───────────────────────────────────────────────────────────────────────────────────
def test_a_logout_ends_this_login_at_every_process_and_no_other(ada: User) -> None:
    mine, other = log_in(), log_in()
    login = of(mine)
    assert post("logout", {"refresh_token": mine["refresh_token"]}).status_code == 204
    assert (status(ada, mine), refresh(mine).status_code) == (401, 401)
    assert login in another_process()
    assert (status(ada, other), refresh(other).status_code) == (200, 200)
    assert post("logout", {"refresh_token": mine["refresh_token"]}).status_code == 204


def test_a_used_refresh_token_logs_out_too(ada: User) -> None:
    first = log_in()
    second = refresh(first).json()
    assert post("logout", {"refresh_token": first["refresh_token"]}).status_code == 204
    assert (status(ada, second), refresh(second).status_code) == (401, 401)


def test_logging_out_everywhere_is_for_the_user_and_for_staff(ada: User) -> None:
    given = [log_in(), log_in()]
    eve = accounts.register("eve@example.org", "Eve", PASSWORD)
    assert post(f"{ada.id}/logout", token=tokens.for_user(eve.id, is_staff=False)).status_code == 404
    assert [status(ada, one) for one in given] == [200, 200]
    assert post(f"{ada.id}/logout", token=given[0]["token"]).status_code == 204
    assert [status(ada, one) for one in given] == [401, 401]
    third = log_in()
    assert post(f"{ada.id}/logout", token=tokens.for_user(eve.id, is_staff=True)).status_code == 204
    assert status(ada, third) == 401


def test_a_deleted_users_tokens_are_refused_by_every_process(ada: User) -> None:
    first = log_in()
    login = of(first)
    assert accounts.delete(ada.id)
    assert status(ada, first) == 401
    assert login in another_process()
    assert refresh(first).status_code == 401


def test_an_unpublished_revocation_is_published_by_the_next_round(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first = log_in()
    login = of(first)
    with monkeypatch.context() as killed:
        killed.setattr(revocation, "publish", lambda _logins: None)  # as if killed after the commit
        logins.end(int(login))
    assert login not in another_process()
    assert tasks.tend_logins() == (1, 0)
    assert login in another_process()


def test_old_logins_are_deleted_and_those_in_use_are_not(ada: User) -> None:
    mine, unused, ended = log_in(), log_in(), log_in()
    Login.objects.filter(pk=int(of(unused))).update(refreshed_at=Now() - timedelta(days=32))
    Login.objects.filter(pk=int(of(ended))).update(revoked_at=Now() - timedelta(hours=2))
    assert tasks.tend_logins() == (0, 2)
    assert [str(one.pk) for one in Login.objects.for_user(ada.id)] == [of(mine)]


def test_a_shard_that_is_down_does_not_stop_other_revocations() -> None:
    people = [accounts.register(f"{number}@example.org", "n", PASSWORD) for number in range(20)]
    begun = [logins.begin(one) for one in people]
    for one in begun:
        Login.objects.filter(pk=one.pk).update(revoked_at=Now())
    lost = connections["shard1"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        tasks.tend_logins()
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name
    fresh = another_process()
    gone = [current().alias_for(one.user_id) == "shard1" for one in begun]
    assert [str(one.pk) not in fresh for one in begun] == gone
    assert {True, False} == set(gone)


# ── the password ──────────────────────────────────────────────────────────────────────────────────
def change(user: User, token: str, current_password: str, new: str) -> Any:
    return post(f"{user.id}/password", {"current_password": current_password, "new_password": new}, token)


def test_a_new_password_ends_every_login_but_the_one_that_it_gives(ada: User) -> None:
    mine, other = log_in(), log_in()
    answer = change(ada, mine["token"], PASSWORD, "another battery")
    assert answer.status_code == 200
    assert [status(ada, one) for one in (mine, other, answer.json())] == [401, 401, 200]
    assert [refresh(one).status_code for one in (mine, other, answer.json())] == [401, 401, 200]
    assert post("token", {"email": "ada@example.org", "password": PASSWORD}).status_code == 401
    log_in("another battery")


def test_the_password_is_changed_by_its_owner_who_knows_the_current_one(ada: User) -> None:
    mine = log_in()
    eve = accounts.register("eve@example.org", "Eve", PASSWORD)
    assert change(ada, tokens.for_user(eve.id, is_staff=False), PASSWORD, "another battery").status_code == 404
    assert change(ada, tokens.for_user(eve.id, is_staff=True), PASSWORD, "another battery").status_code == 403
    assert change(ada, mine["token"], "wrong", "another battery").status_code == 403
    assert change(ada, mine["token"], PASSWORD, "password").status_code == 400
    assert change(ada, mine["token"], PASSWORD, "ada@example.org").status_code == 400
    assert change(ada, "", PASSWORD, "another battery").status_code == 401
    assert status(ada, log_in()) == 200


def test_of_ten_changes_of_the_password_at_once_one_succeeds(ada: User) -> None:
    token = log_in()["token"]

    def attempt(number: int) -> int:
        try:
            return int(change(ada, token, PASSWORD, f"another battery {number}").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = sorted(pool.map(attempt, range(10)))
    assert answers[0] == 200
    assert set(answers[1:]) <= {401, 403}
    assert Login.objects.for_user(ada.id).filter(revoked_at=None).count() == 1


def test_a_login_with_the_old_password_fails(ada: User) -> None:
    read = User.objects.get(pk=ada.id)  # a request that has looked at the password, and sleeps
    assert change(ada, log_in()["token"], PASSWORD, "another battery").status_code == 200
    with pytest.raises(logins.LoggedOut):
        logins.begin(read)


def test_ten_wrong_current_passwords_are_the_limit_and_do_not_lock_the_login(ada: User) -> None:
    mine = log_in()
    answers = [change(ada, mine["token"], "wrong", "another battery").status_code for _ in range(11)]
    assert answers == [403] * 10 + [429]
    log_in()


def patch(user: User, body: Any, token: str) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return Client().patch(f"{USERS}{user.id}", json.dumps(body), content_type="application/json", headers=headers)


def test_the_own_address_is_changed_with_the_current_password_only(ada: User) -> None:
    mine = log_in()
    new = {"email": "lovelace@example.org"}
    assert patch(ada, new, mine["token"]).status_code == 403
    assert patch(ada, new | {"current_password": "wrong"}, mine["token"]).status_code == 403
    assert accounts.find("lovelace@example.org") is None
    # What needs none: the name, and the address as it is.
    assert patch(ada, {"name": "Lovelace", "email": "ADA@example.org"}, mine["token"]).status_code == 200
    assert patch(ada, new | {"current_password": PASSWORD}, mine["token"]).json()["email"] == "lovelace@example.org"
    assert patch(ada, {"email": "ada@example.org"}, tokens.for_user(1, is_staff=True)).status_code == 200
