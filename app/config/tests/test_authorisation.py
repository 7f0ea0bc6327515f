"""Authorisation comes before validation: who may not call an operation learns nothing of its
input. Read from the OpenAPI documents of the three services, so a new operation is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from scaleout.identity import tokens

SERVICES = ("orders", "products", "users")
METHODS = ("get", "post", "put", "patch", "delete")
# None of them is valid for any operation, whatever its media type.
BAD = [
    ("application/json", b'{"no such field": 1}'),
    ("application/json", b'{"half": '),
    ("multipart/form-data; boundary=x", b"--x"),
    ("text/plain", b"\xff"),
]
type Operation = tuple[str, str, str]  # method, path, security scheme

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _services(settings: Settings) -> None:
    """Serve all three."""
    settings.ROOT_URLCONF = "config.tests.authorisation_urls"


def operations(client: Client) -> Iterator[Operation]:
    """Yield each operation that needs a token. Its path has a number for each parameter."""
    for service in SERVICES:
        document = client.get(f"/api/{service}/openapi.json")
        assert document.status_code == 200, document.content
        for path, methods in document.json()["paths"].items():
            for method in set(METHODS) & methods.keys():
                for scheme in {name for one in methods[method].get("security", ()) for name in one}:
                    yield method, re.sub(r"{\w+}", "1", path), scheme


def statuses(client: Client, method: str, path: str, headers: dict[str, str]) -> set[int]:
    """Return how each bad body, and a bad parameter of the query, is answered."""
    answers: list[Any] = [
        client.generic(method.upper(), f"{path}?limit=none", body, content_type, headers=headers)
        for content_type, body in BAD
    ]
    return {answer.status_code for answer in answers}


def token(*, staff: bool) -> dict[str, str]:
    """Return the headers of a user."""
    return {"authorization": f"Bearer {tokens.for_user(1, is_staff=staff)}"}


def test_without_a_good_token_each_operation_that_needs_one_answers_401_to_any_body(client: Client) -> None:
    found = list(operations(client))
    assert len(found) >= 16
    for headers in ({}, {"authorization": "Bearer a.b.c"}, {"authorization": "Basic YTpi"}):
        wrong = {one: seen for one in found if (seen := statuses(client, *one[:2], headers)) != {401}}
        assert not wrong, headers


def test_each_staff_operation_answers_403_to_the_bad_body_of_an_ordinary_user(client: Client) -> None:
    staff = {one for one in operations(client) if one[2] == "StaffBearer"}
    assert {one[:2] for one in staff} == {
        ("get", "/api/users/"),
        ("post", "/api/products/"),
        ("patch", "/api/products/1"),
        ("delete", "/api/products/1"),
        ("post", "/api/products/1/image"),
        ("post", "/api/products/1/image-upload"),
        ("post", "/api/products/1/image-upload/1"),
    }
    wrong = {one: seen for one in staff if (seen := statuses(client, *one[:2], token(staff=False))) != {403}}
    assert not wrong


def test_the_same_bad_body_of_staff_is_a_bad_request(client: Client) -> None:
    assert statuses(client, "post", "/api/products/", token(staff=True)) == {400, 415}
