"""Valid request targets, and the service that each names."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from scaleout.gateway.client.errors import Refused
from scaleout.gateway.edge import target

SERVICES = {"users", "orders"}


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("/api/users/", "users"),
        ("/api/users", "users"),
        ("/api/users?x=1", "users"),
        ("/api/orders/1/items/?a=/../&b=//&c=%2e%2e%2f&d=%00&e=100%", "orders"),
        ("/api/users/%c3%a9/~x/%7E/;a=b/a..b/...x/.well-known", "users"),
        ("/api/users/?next=http://elsewhere/", "users"),
        ("/api/users/100%25", "users"),
        ("/api/users/@orders:8003", "users"),
    ],
)
def test_the_first_part_below_api_names_the_service(raw: str, name: str) -> None:
    assert target.service(raw, SERVICES) == name


HOSTILE = [
    "/api/users/..", "/api/users/../orders/", "/api/../api/users/", "/api/users/./", "/api/users/.",
    "/api/users/%2e%2e/orders/", "/api/users/%2E./x", "/api/users/.%2e", "/api/users/%2e/",
    "/api/users/%252e%252e/orders/", "/api/users/%25252e%25252e/",
    "/api/users/..;/orders/", "/api/users/..;x=1/orders/", "/api/users/%2e%2e%3b/orders/", "/api/users/..%253bx/",
    "/api//users/", "//api/users/", "/api/users//1", "/api/users/1//",
    "/api/users%2f1", "/api/users/%2F..%2Forders", "/api/users/%252f", "/api/users/%5c..%5corders",
    "/api/users/\\..\\x",
    "/api/users/%5C", "/api/users/%255c",
    "/api/users/%00", "/api/users/%0d%0aX-Auth:%201", "/api/users/%0a", "/api/users/%7f", "/api/users/%1b[0m",
    "/api/users/%2500", "/api/users/%250d%250a",
    "/api/users/\r\nX: 1", "/api/users/\n", "/api/users/\x00", "/api/users/ x",
    "/api/users/?a=\r\nX: 1", "/api/users/\t",
    "/api/users/\x80", "/api/users/é",
    "/api/users/%", "/api/users/%zz", "/api/users/%2", "/api/users/#x", "/api/users/?#x",
    "http://orders:8003/api/users/", "https://elsewhere/", "users:8001", "*", "", "api/users/",
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE)
def test_what_two_readers_could_understand_in_two_ways_is_refused(raw: str) -> None:
    with pytest.raises(Refused) as refused:
        target.service(raw, SERVICES)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "raw",
    [
        "/api/", "/api", "/api/cars/1", "/api/USERS/", "/api/%75sers/", "/%61pi/users/", "/api/users:8001/",
        "/api/users;x/",
        "/api/users@orders/", "/api/.users/", "/api/usersx/", "/api/-/", "/metrics", "/apiusers/", "/api/users.orders/",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(raw: str) -> None:
    with pytest.raises(Refused) as refused:
        target.service(raw, SERVICES)
    assert refused.value.status == 404


def test_without_a_raw_target_djangos_rendering_is_judged() -> None:
    assert target.of(RequestFactory().get("/api/users/a b/é?q=1")) == "/api/users/a%20b/%C3%A9?q=1"
