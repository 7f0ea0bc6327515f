"""Cross-site requests are rejected; programs and the own site work as before."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db
EVIL = "https://evil.example"


def count() -> int:
    return int(Client().get("/counter/").json()["count"])


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},  # another host of the same domain
        {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "http://testserver:81"},
        {"origin": "http://testserver.evil.example"},
    ],
)
def test_a_change_from_another_site_is_refused_and_changes_nothing(headers: dict[str, Any]) -> None:
    before = count()
    answer = Client().post("/counter/", headers=headers)
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert count() == before
    assert Client().post("/api/nothing/", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl
        {"sec-fetch-site": "same-origin", "origin": "http://testserver"},
        {"sec-fetch-site": "none"},
        {"origin": "http://testserver"},
        {"sec-fetch-site": "cross-site", "authorization": "Bearer x"},
    ],
)
def test_a_change_by_a_program_the_own_site_or_with_a_token_is_allowed(headers: dict[str, Any]) -> None:
    before = count()
    assert Client().post("/counter/", headers=headers).json() == {"count": before + 1}


def test_another_site_may_read_but_count_no_visit() -> None:
    client = Client()
    assert client.get("/counter/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    assert client.get("/session/").json() == {"visits": 1}
    for site in ("cross-site", "same-site"):
        assert client.get("/session/", headers={"sec-fetch-site": site}).status_code == 403
    assert "sessionid" not in Client().get("/session/", headers={"sec-fetch-site": "cross-site"}).cookies
    assert client.get("/session/", headers={"sec-fetch-site": "none"}).json() == {"visits": 2}
