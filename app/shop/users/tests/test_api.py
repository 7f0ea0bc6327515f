"""The users service: registration, login, and access to the own record only."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client
from pytest_django import Settings
from scaleout.identity import tokens
from scaleout.replication import metrics
from scaleout.sharding.ids import LARGEST, bucket_of
from scaleout.sharding.shard_map import current

from shop.users import accounts
from shop.users.models import User

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *ALIASES]),
    pytest.mark.usefixtures("shards"),
]
USERS = "/api/users/"
ADA = {"email": "ada@example.org", "name": "Ada", "password": "correct horse"}


@pytest.fixture(autouse=True)
def _service(settings: Settings) -> None:
    settings.ROOT_URLCONF = "shop.users.tests.urls"
    cache.clear()  # the attempts to log in


def bearer(user_id: int, *, staff: bool = False) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.for_user(user_id, is_staff=staff)}"}


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(USERS + path, data, content_type="application/json", headers=headers)


def patch(client: Client, user_id: int, body: Any, headers: dict[str, str]) -> Any:
    return client.patch(f"{USERS}{user_id}", json.dumps(body), content_type="application/json", headers=headers)


def assert_problem(answer: Any, status: int, says: str = "") -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert says in answer.json()["detail"]


def ada() -> User:
    return accounts.register(ADA["email"], ADA["name"], ADA["password"])


def eve() -> User:
    return accounts.register("eve@example.org", "Eve", "wrong battery")


# ── registering and logging in ────────────────────────────────────────────────────────────────────
def test_a_user_is_made_and_logs_in_and_the_token_is_the_users(client: Client) -> None:
    made = post(client, "", ADA | {"email": " Ada@Example.org "})
    assert made.status_code == 201
    user_id = made.json()["id"]
    assert made.json() == {"id": user_id, "email": "ada@example.org", "name": "Ada"}
    answer = post(client, "token", {"email": "ADA@example.org", "password": ADA["password"]})
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == tokens.USER_SECONDS
    assert tokens.verify(answer.json()["token"]) == tokens.Caller(user_id=user_id)
    own = client.get(f"{USERS}{user_id}", headers={"authorization": f"Bearer {answer.json()['token']}"})
    assert own.json() == made.json()


def test_staff_is_a_claim_of_the_token_and_no_client_can_register_as_staff(client: Client) -> None:
    accounts.register("boss@example.org", "Boss", "long enough", is_staff=True)
    answer = post(client, "token", {"email": "boss@example.org", "password": "long enough"})
    assert tokens.verify(answer.json()["token"]).is_staff
    assert_problem(post(client, "", ADA | {"is_staff": True}), 400, "is_staff")


def test_an_address_that_has_a_user_is_409(client: Client) -> None:
    ada()
    assert_problem(post(client, "", ADA | {"email": "ADA@example.org"}), 409)


def test_of_twenty_registrations_of_one_address_at_once_one_succeeds(client: Client) -> None:
    def attempt(_number: int) -> int:
        try:
            return int(post(Client(), "", ADA).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = sorted(pool.map(attempt, range(20)))
    assert answers == [201, *[409] * 19]


def test_a_wrong_password_and_an_unknown_address_are_answered_alike(client: Client) -> None:
    ada()
    wrong = post(client, "token", {"email": ADA["email"], "password": "something else"})
    unknown = post(client, "token", {"email": "unknown@example.org", "password": "something else"})
    none = post(client, "token", {"email": "no address", "password": "something else"})
    for answer in (wrong, unknown, none):
        assert_problem(answer, 401)
        assert answer["WWW-Authenticate"] == "Bearer"
    assert wrong.json()["detail"] == unknown.json()["detail"] == none.json()["detail"]


@pytest.mark.parametrize("email", ["ada@example.org", "unknown@example.org", "no address"])
def test_each_login_hashes_once_also_for_an_unknown_address(
    client: Client, email: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PASSWORD_HASHERS = ["shop.users.tests.counting.CountingHasher"]
    from shop.users.tests.counting import CountingHasher  # noqa: PLC0415 - Django imports it by the name above

    ada()
    monkeypatch.setattr(CountingHasher, "hashed", 0)
    assert_problem(post(client, "token", {"email": email, "password": "something else"}), 401)
    assert CountingHasher.hashed == 1


def test_the_eleventh_attempt_of_one_client_for_one_address_is_refused_even_if_right(client: Client) -> None:
    ada()
    for _ in range(10):
        assert_problem(post(client, "token", {"email": ADA["email"], "password": "guess"}), 401)
    answer = post(client, "token", {"email": "ADA@example.org", "password": ADA["password"]})
    assert_problem(answer, 429)
    assert 0 < int(answer["Retry-After"]) <= 300
    other = post(client, "token", {"email": "eve@example.org", "password": "guess"})
    assert_problem(other, 401)


def test_ten_wrong_passwords_of_another_client_do_not_lock_the_owner_out(client: Client) -> None:
    ada()
    assert [guess(client, ADA["email"], "203.0.113.7") for _ in range(11)] == [401] * 10 + [429]
    right = {"email": ADA["email"], "password": ADA["password"]}
    assert post(client, "token", right, **{"x-real-ip": "203.0.113.8"}).status_code == 200


def test_many_guessing_clients_are_rejected_but_not_a_client_of_the_owner(
    client: Client,
) -> None:
    ada()
    right = {"email": ADA["email"], "password": ADA["password"]}
    assert post(client, "token", right, **{"x-real-ip": "198.51.100.1"}).status_code == 200
    answers = [guess(client, ADA["email"], f"203.0.113.{number}") for number in range(10) for _ in range(10)]
    assert set(answers) == {401}
    assert guess(client, ADA["email"], "203.0.113.200") == 429
    assert post(client, "token", right, **{"x-real-ip": "198.51.100.2"}).status_code == 429
    for _ in range(3):  # and what is right takes nothing from what the others have used up
        assert post(client, "token", right, **{"x-real-ip": "198.51.100.1"}).status_code == 200
    assert guess(client, ADA["email"], "203.0.113.201") == 429


def test_registrations_of_a_client_are_limited_per_hour(client: Client, settings: Settings) -> None:
    settings.USERS_REGISTRATIONS = 3

    def register(number: int, address: str) -> Any:
        return post(client, "", ADA | {"email": f"{number}@example.org"}, **{"x-real-ip": address})

    assert [register(number, "203.0.113.7").status_code for number in range(3)] == [201] * 3
    answer = register(3, "203.0.113.7")
    assert_problem(answer, 429)
    assert 0 < int(answer["Retry-After"]) <= 3600
    assert accounts.find("3@example.org") is None
    assert register(0, "203.0.113.8").status_code == 409
    settings.USERS_REGISTRATIONS = 0
    assert register(4, "203.0.113.7").status_code == 201


def test_a_site_that_hides_addresses_answers_a_taken_one_as_a_free_one(client: Client, settings: Settings) -> None:
    settings.USERS_TELLS_ADDRESSES = False
    first, second = post(client, "", ADA), post(client, "", ADA | {"password": "another battery"})
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code == 202
    ours = {"X-Request-ID", "X-Database", "X-Database-Server"}  # the last two are for EXPOSE_TOPOLOGY=1
    assert [one for one in first.items() if one[0] not in ours] == [one for one in second.items() if one[0] not in ours]
    assert post(client, "token", {"email": ADA["email"], "password": ADA["password"]}).status_code == 200
    assert post(client, "token", {"email": ADA["email"], "password": "another battery"}).status_code == 401


@pytest.mark.parametrize(
    "password", ["password", "iloveyou1", "ada@example.org", "ADA@EXAMPLE.ORG", "8675309421", "Lovelace1"]
)
def test_a_common_password_and_ones_own_name_or_address_are_refused(client: Client, password: str) -> None:
    answer = post(client, "", ADA | {"name": "Lovelace", "password": password})
    assert_problem(answer, 400, "password")
    assert accounts.find(ADA["email"]) is None


def test_a_login_that_succeeds_forgets_the_failures_before_it(client: Client) -> None:
    ada()
    for _ in range(3):
        for _ in range(9):
            post(client, "token", {"email": ADA["email"], "password": "guess"})
        assert post(client, "token", {"email": ADA["email"], "password": ADA["password"]}).status_code == 200


def test_successful_logins_are_never_rejected(client: Client) -> None:
    ada()
    body = {"email": ADA["email"], "password": ADA["password"]}
    assert {post(client, "token", body).status_code for _ in range(120)} == {200}


def test_a_successful_login_keeps_the_count_of_its_clients_failures(client: Client) -> None:
    ada()
    right = {"email": ADA["email"], "password": ADA["password"]}
    for number in range(100):
        assert guess(client, f"{number}@example.org", "203.0.113.7") == 401
        if number % 3 == 0 and number < 99:
            assert post(client, "token", right, **{"x-real-ip": "203.0.113.7"}).status_code == 200
    assert guess(client, "100@example.org", "203.0.113.7") == 429


def guess(client: Client, email: str, client_address: str) -> int:
    body = {"email": email, "password": "guess"}
    return int(post(client, "token", body, **{"x-real-ip": client_address}).status_code)


def test_one_client_is_refused_after_a_hundred_attempts_whatever_the_addresses(client: Client) -> None:
    assert {guess(client, f"{number}@example.org", "203.0.113.7") for number in range(100)} == {401}
    assert guess(client, "100@example.org", "203.0.113.7") == 429
    assert guess(client, "100@example.org", "203.0.113.8") == 401


def test_a_client_with_a_whole_network_of_ipv6_addresses_is_one_client(client: Client) -> None:
    for number in range(100):
        assert guess(client, f"{number}@example.org", f"2001:db8:0:1::{number:x}") == 401
    assert guess(client, "100@example.org", "2001:db8:0:1:ffff::1") == 429
    assert guess(client, "100@example.org", "2001:db8:0:2::1") == 401


def test_a_client_that_is_refused_does_not_lock_out_others(client: Client) -> None:
    for number in range(100):
        guess(client, f"{number}@example.org", "203.0.113.7")
    assert [guess(client, ADA["email"], "203.0.113.7") for _ in range(20)] == [429] * 20
    ada()
    assert post(client, "token", {"email": ADA["email"], "password": ADA["password"]}).status_code == 200


# ── whose record ──────────────────────────────────────────────────────────────────────────────────
def requests_for(user_id: int) -> list[tuple[str, str]]:
    return [
        ("GET", f"{USERS}{user_id}"),
        ("PATCH", f"{USERS}{user_id}"),
        ("DELETE", f"{USERS}{user_id}"),
        ("GET", f"{USERS}{user_id}/orders"),
    ]


def ask(client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
    body = json.dumps({"name": "changed"}) if method == "PATCH" else ""
    return client.generic(method, path, body, content_type="application/json", headers=headers)


def test_another_user_gets_404_for_everything_and_changes_nothing(client: Client) -> None:
    user, other = ada(), eve()
    for method, path in requests_for(user.id):
        answer = ask(client, method, path, bearer(other.id))
        missing = ask(client, method, path.replace(str(user.id), str(user.id + 1)), bearer(other.id))
        assert_problem(answer, 404)
        assert answer.json()["detail"] == missing.json()["detail"]
    assert User.objects.get(pk=user.id).name == "Ada"


def test_without_a_good_token_everything_is_401(client: Client) -> None:
    user = ada()
    for method, path in [*requests_for(user.id), ("GET", USERS)]:
        answer = ask(client, method, path, {})
        assert_problem(answer, 401)
        assert answer["WWW-Authenticate"] == "Bearer"
        for header in ("Bearer nonsense", "Bearer ", "Basic YTpi", f"Bearer {tokens.for_service('users')}x"):
            assert_problem(ask(client, method, path, {"authorization": header}), 401)


def test_staff_see_change_and_delete_each_user(client: Client) -> None:
    user = ada()
    for method, path in requests_for(user.id):
        if not path.endswith("orders"):
            assert ask(client, method, path, bearer(1, staff=True)).status_code in (200, 204)
    assert_problem(client.get(f"{USERS}{user.id}", headers=bearer(1, staff=True)), 404)


def test_a_user_changes_name_and_address(client: Client) -> None:
    user = ada()
    change = {"name": " Lovelace ", "email": "lovelace@example.org", "current_password": ADA["password"]}
    answer = patch(client, user.id, change, bearer(user.id))
    assert answer.json() == {"id": user.id, "email": "lovelace@example.org", "name": "Lovelace"}
    assert accounts.find("lovelace@example.org") == user
    assert patch(client, user.id, {}, bearer(user.id)).json() == answer.json()
    eve()
    taken = {"email": "eve@example.org", "current_password": ADA["password"]}
    assert_problem(patch(client, user.id, taken, bearer(user.id)), 409)
    wrong: list[Any] = [{"name": ""}, {"email": "no address"}, {"password": "other"}, {"is_staff": True}, []]
    for body in wrong:
        assert_problem(patch(client, user.id, body, bearer(user.id)), 400)


def test_a_user_who_is_deleted_is_gone_and_the_address_is_free(client: Client) -> None:
    user = ada()
    assert client.delete(f"{USERS}{user.id}", headers=bearer(user.id)).status_code == 204
    assert_problem(client.get(f"{USERS}{user.id}", headers=bearer(user.id)), 404)
    assert_problem(client.delete(f"{USERS}{user.id}", headers=bearer(user.id)), 404)
    assert post(client, "", ADA).status_code == 201


# ── the list ──────────────────────────────────────────────────────────────────────────────────────
def test_staff_go_through_all_users_of_all_shards_in_the_order_of_their_ids(client: Client) -> None:
    made = sorted(accounts.register(f"{number}@example.org", "n", "long enough").id for number in range(25))
    assert len({current().number(bucket_of(one)) for one in made}) == 3
    found, cursor, pages = [], "", 0
    while cursor is not None:
        page = client.get(f"{USERS}?limit=10" + (f"&cursor={cursor}" if cursor else ""), headers=bearer(1, staff=True))
        assert page.status_code == 200
        assert page.json()["partial"] is False
        found += [one["id"] for one in page.json()["items"]]
        cursor, pages = page.json()["next"], pages + 1
    assert (found, pages) == (made, 3)


def test_the_list_is_for_staff(client: Client) -> None:
    assert_problem(client.get(USERS, headers=bearer(ada().id)), 403)


def test_the_list_asks_each_shard_the_same_number_of_queries_however_many_users_there_are(client: Client) -> None:
    def queries() -> dict[str, float]:
        before = {alias: metrics.queries.labels(alias)._value.get() for alias in ("default", *ALIASES)}
        assert client.get(USERS, headers=bearer(1, staff=True)).status_code == 200
        return {alias: metrics.queries.labels(alias)._value.get() - count for alias, count in before.items()}

    first = queries()
    for number in range(12):
        accounts.register(f"{number}@example.org", "n", "long enough")
    # A snapshot, the buckets that it shows, and the page; and no map.
    assert first == queries() == {"default": 0, **dict.fromkeys(ALIASES, 3)}


@pytest.mark.parametrize("query", ["cursor=x", "cursor=-1", f"cursor={LARGEST + 1}", "limit=0", "limit=201", "limit=x"])
def test_a_bad_page_is_a_problem_of_the_caller(client: Client, query: str) -> None:
    assert_problem(client.get(f"{USERS}?{query}", headers=bearer(1, staff=True)), 400)


@pytest.mark.parametrize("query", ["cursor=", "limit=", "cursor=&limit="])
def test_an_empty_parameter_counts_as_not_given(client: Client, query: str) -> None:
    user = ada()
    page = client.get(f"{USERS}?{query}", headers=bearer(1, staff=True))
    assert [one["id"] for one in page.json()["items"]] == [user.id]


def test_a_missing_shard_makes_the_list_partial_and_is_503_for_its_own_users_only(
    client: Client, settings: Settings
) -> None:
    made = [accounts.register(f"{number}@example.org", "n", "long enough").id for number in range(20)]
    lost = connections["shard1"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        page = client.get(USERS, headers=bearer(1, staff=True))
        assert page.status_code == 200
        gone = [one for one in made if current().alias_for(one) == "shard1"]
        for one in made:
            answer = client.get(f"{USERS}{one}", headers=bearer(one))
            if one in gone:
                assert_problem(answer, 503)
                assert answer["Retry-After"] == "1"
            else:
                assert answer.status_code == 200
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name
    assert gone


def test_a_bucket_that_is_moving_is_503_for_its_users_writes(client: Client) -> None:
    user = ada()
    alias = current().alias_for(user.id)
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE sharding_bucket SET state = 'blocked' WHERE bucket = %s", [bucket_of(user.id)])
    answer = patch(client, user.id, {"name": "changed"}, bearer(user.id))
    assert_problem(answer, 503)
    assert answer["Retry-After"] == "1"
    assert client.get(f"{USERS}{user.id}", headers=bearer(user.id)).status_code == 200


# ── what is sent by mistake or on purpose ─────────────────────────────────────────────────────────
BODIES: list[bytes] = [
    b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe", b"\x00", b"[" * 100_000, b'{"a":' * 50_000,
    b'{"email": 1, "name": {}, "password": []}', b'{"email": NaN}', b"1" * 5000,
    json.dumps(ADA | {"name": "a\0b"}).encode(),
    json.dumps(ADA | {"name": "\ud800"}).encode(),
    json.dumps(ADA | {"\ud800": 1}).encode(),
    json.dumps(ADA | {"email": "a\0@example.org"}).encode(),
    json.dumps(ADA | {"email": "a" * 300 + "@example.org"}).encode(),
    json.dumps(ADA | {"email": "\ufb03" * 200 + "@example.org"}).encode(),  # three letters each, once normalised
    json.dumps(ADA | {"name": "n" * 201}).encode(),
    json.dumps(ADA | {"name": "   "}).encode(),
    json.dumps(ADA | {"password": "short"}).encode(),
    json.dumps(ADA | {"password": "p" * 201}).encode(),
    json.dumps(ADA | {"password": 12345678}).encode(),
    json.dumps(ADA).encode()[:-1] + b', "email": "eve@example.org"}',  # which of the two?
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=[str(number) for number in range(len(BODIES))])
def test_a_bad_body_is_a_problem_of_the_caller(client: Client, body: bytes) -> None:
    assert_problem(post(client, "", body), 400)
    assert post(client, "token", body).status_code in (400, 401)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "\0"])
def test_a_body_of_another_type_is_415(client: Client, kind: str) -> None:
    assert_problem(client.generic("POST", USERS, json.dumps(ADA), content_type=kind), 415)


def test_a_body_that_is_too_large_is_413(client: Client, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024
    assert_problem(post(client, "", ADA | {"name": "n" * 1024}), 413)


def test_another_method_is_405_and_says_which_are_possible(client: Client) -> None:
    for method, path, allowed in (
        ("PUT", USERS, {"GET", "HEAD", "POST"}),
        ("GET", f"{USERS}token", {"POST"}),
        ("POST", f"{USERS}7", {"GET", "HEAD", "PATCH", "DELETE"}),
    ):
        answer = client.generic(method, path)
        assert_problem(answer, 405)
        assert set(answer["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["0", str(LARGEST + 1), str(2**63), "9" * 30, "9" * 5000, "-1", "x", "1.5", "%00", "%ff", "1/", "1/nothing"]
)
def test_an_unknown_id_is_404(client: Client, path: str) -> None:
    assert_problem(client.get(USERS + path, headers=bearer(1, staff=True)), 404)


def test_head_is_get_without_a_body(client: Client) -> None:
    user = ada()
    answer = client.head(f"{USERS}{user.id}", headers=bearer(user.id))
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_openapi_document_names_every_endpoint_and_its_errors(client: Client) -> None:
    document = client.get(f"{USERS}openapi.json").json()
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/api/users/": {"get", "post"},
        "/api/users/token": {"post"},
        "/api/users/token/refresh": {"post"},
        "/api/users/logout": {"post"},
        "/api/users/{user_id}/logout": {"post"},
        "/api/users/{user_id}/password": {"post"},
        "/api/users/{user_id}": {"get", "patch", "delete"},
        "/api/users/{user_id}/orders": {"get"},
    }
    registration = document["paths"]["/api/users/"]["post"]["responses"]
    assert registration.keys() == {"201", "202", "400", "409", "413", "415", "429", "502", "503", "504"}
    assert [status for status, one in registration.items() if "Retry-After" in one.get("headers", {})] == ["429", "503"]
    assert registration["409"]["content"].keys() == {"application/problem+json"}
    assert "ProblemDetails" in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\u200b"), ("name", "A\u202eda"), ("name", "\u3164"), ("name", "A\nda"),
     ("email", "a\u00add@example.org"), ("password", "e\u0301" * 7)],
)  # fmt: skip
def test_invisible_characters_and_a_too_short_normalised_password_are_400(
    client: Client, field: str, value: str
) -> None:
    assert_problem(post(client, "", ADA | {field: value}), 400, f"body.{field}")
    assert User.objects.scatter().items == []


def test_a_name_is_kept_in_one_form(client: Client) -> None:
    assert post(client, "", ADA | {"name": "Zoe\u0308"}).json()["name"] == "Zo\u00eb"


def test_a_condition_that_no_record_can_meet_is_412_and_changes_nothing(client: Client) -> None:
    user = ada()
    headers = bearer(user.pk) | {"If-Match": '"bogus"'}
    assert_problem(patch(client, user.pk, {"name": "Lost"}, headers), 412)
    assert_problem(client.delete(f"{USERS}{user.pk}", headers=headers), 412)
    assert User.objects.get(pk=user.pk).name == "Ada"
    assert patch(client, user.pk, {"name": "Countess"}, headers | {"If-Match": "*"}).status_code == 200
