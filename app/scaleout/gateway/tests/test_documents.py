"""The documents of several services as one, and what becomes of a service that gives none."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import Any

import pytest
from waiting import in_time

from scaleout.gateway.client.service import Policy, Service
from scaleout.gateway.edge.documents import Missing, fetch, merge
from scaleout.gateway.tests.upstream import Respond, Seen, Upstream, close, hang, say


def document(service: str, **schemas: Any) -> dict[str, Any]:
    """Return a document with one operation, which answers with a `Page`."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Page"}}}
    operation = {
        "operationId": f"{service}_list",
        "responses": {"200": {"description": "OK", "content": content}},
        "security": [{"Bearer": []}],
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": service, "version": "1", "description": f"All about {service}."},
        "paths": {f"/api/{service}/": {"get": operation}},
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}}},
    }


ITEM = {"$ref": "#/components/schemas/Item"}
PAGE = {"type": "object", "properties": {"items": {"type": "array", "items": ITEM}}}
PROBLEM = {"type": "object", "title": "Problem"}


def schema_of(merged: dict[str, Any], service: str) -> str:
    """Return what the operation of a service answers with."""
    answers = merged["paths"][f"/api/{service}/"]["get"]["responses"]
    return str(answers["200"]["content"]["application/json"]["schema"]["$ref"])


def test_paths_stay_as_they_are_and_an_operation_has_its_service_as_its_tag() -> None:
    merged = merge({"users": document("users", Page=PAGE), "orders": document("orders", Page=PAGE)})
    assert list(merged["paths"]) == ["/api/users/", "/api/orders/"]
    assert [one["get"]["tags"] for one in merged["paths"].values()] == [["users"], ["orders"]]
    assert merged["tags"][1] == {"name": "orders", "description": "All about orders."}


def test_what_all_mean_alike_is_there_once() -> None:
    merged = merge({name: document(name, Page=PAGE, Item={"type": "integer"}, Problem=PROBLEM) for name in ("a", "b")})
    assert merged["components"]["schemas"].keys() == {"Page", "Item", "Problem"}
    assert merged["components"]["securitySchemes"] == {"Bearer": {"type": "http", "scheme": "bearer"}}


def test_components_that_differ_are_renamed_and_so_are_their_references() -> None:
    merged = merge({
        "users": document("users", Page=PAGE, Item={"type": "integer"}, Problem=PROBLEM),
        "orders": document("orders", Page=PAGE, Item={"type": "string"}, Problem=PROBLEM),
    })  # fmt: skip
    schemas = merged["components"]["schemas"]
    assert schemas.keys() == {"users.Page", "users.Item", "orders.Page", "orders.Item", "Problem"}
    for name, kind in (("users", "integer"), ("orders", "string")):
        assert schema_of(merged, name) == f"#/components/schemas/{name}.Page"
        assert schemas[f"{name}.Page"]["properties"]["items"]["items"] == {"$ref": f"#/components/schemas/{name}.Item"}
        assert schemas[f"{name}.Item"] == {"type": kind}


def test_two_security_schemes_of_one_name_are_renamed_where_they_are_used() -> None:
    other = document("orders")
    other["components"]["securitySchemes"]["Bearer"] = {"type": "apiKey", "in": "header", "name": "X-Key"}
    merged = merge({"users": document("users"), "orders": other})
    assert merged["components"]["securitySchemes"].keys() == {"users.Bearer", "orders.Bearer"}
    assert merged["paths"]["/api/orders/"]["get"]["security"] == [{"orders.Bearer": []}]


def test_schemas_that_refer_to_each_other_are_no_endless_task() -> None:
    node = {"properties": {"children": {"items": {"$ref": "#/components/schemas/Item"}}}}
    merged = merge({"a": document("a", Page=node, Item=PAGE | {"x": 1}), "b": document("b", Page=node, Item=node)})
    assert merged["components"]["schemas"].keys() == {"a.Page", "a.Item", "b.Page", "b.Item"}


def test_of_no_service_there_is_an_empty_document() -> None:
    assert merge({}) == {"openapi": "3.1.0", "tags": [], "paths": {}, "components": {}}


ODD: dict[str, Any] = {
    "parameters of a path": {"paths": {"/odd": {"parameters": [{"name": "x", "in": "query"}], "get": {}}}},
    "a summary and servers of a path": {"paths": {"/odd": {"summary": "s", "servers": [{"url": "/"}], "get": {}}}},
    "a path that refers": {"paths": {"/odd": {"$ref": "#/components/pathItems/x"}}},
    "a path that is none": {"paths": {"/odd": []}, "components": {"schemas": {"A": {}}}},
    "an operation that is none": {"paths": {"/odd": {"get": "x", "post": None}}},
    "components that are none": {"paths": {}, "components": []},
    "components of no kind": {"paths": {}, "components": None},
    "a kind that is none": {"paths": {}, "components": {"schemas": [], "x-more": "text"}},
    "an info that is none": {"paths": {}, "info": []},
    "a security that is none": {"paths": {"/odd": {"get": {"security": ["Bearer", None]}}}, "security": {}},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_document_spoils_no_other(odd: dict[str, Any]) -> None:
    merged = merge({"users": document("users", Page=PAGE), "odd": odd, "orders": document("orders", Page=PAGE)})
    assert {"/api/users/", "/api/orders/"} <= merged["paths"].keys()
    assert [one["name"] for one in merged["tags"]] == ["users", "odd", "orders"]
    json.dumps(merged)


def test_what_stands_beside_the_operations_of_a_path_stays() -> None:
    item = {"parameters": [{"name": "x", "in": "query"}], "summary": "s", "get": {"operationId": "one"}}
    merged = merge({"odd": {"paths": {"/odd": item}}})
    assert merged["paths"]["/odd"] == item | {"get": {"operationId": "one", "tags": ["odd"]}}


def test_the_security_of_a_whole_document_is_that_of_each_of_its_operations_which_has_none() -> None:
    whole = document("users") | {"security": [{"Bearer": []}]}
    operations = whole["paths"]["/api/users/"]
    operations |= {"post": {"operationId": "open", "security": []}, "patch": {"operationId": "closed"}}
    other = document("orders")
    other["components"]["securitySchemes"]["Bearer"] = {"type": "apiKey", "in": "header", "name": "X-Key"}
    merged = merge({"users": whole, "orders": other})["paths"]["/api/users/"]
    assert merged["patch"]["security"] == [{"users.Bearer": []}]
    assert merged["post"]["security"] == []


# ── fetching ──────────────────────────────────────────────────────────────────────────────────────
def service(upstream: Upstream) -> Service:
    return Service("users", "127.0.0.1", upstream.port, Policy())


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def trickle(sock: socket.socket, _seen: Seen) -> None:
    """Send the beginning, and then hardly anything."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    sock.settimeout(0.1)
    for _ in range(100):
        sock.sendall(b" ")
        try:
            if not sock.recv(1):
                return
        except TimeoutError:
            continue


def test_the_document_is_asked_for_at_its_address() -> None:
    with closing(Upstream(say(answer(json.dumps(document("users")).encode())))) as upstream:
        assert fetch(service(upstream), 2.0) == document("users")
        assert upstream.seen[0].line == b"GET /api/users/openapi.json HTTP/1.1"


@pytest.mark.parametrize(
    "respond",
    [
        close,
        hang,
        trickle,
        say(answer(b"{}", b"503 Service Unavailable")),
        say(answer(b"{}")),
        say(answer(b"[]")),
        say(answer(b'{"paths": []}')),
        say(answer(b"<html>")),
        say(answer(b"\xff\xfe{")),
        say(answer(b"[" * 100_000)),
        say(answer(b'{"paths": {}, "x": ' + b"[" * 150 + b"]" * 150 + b"}")),
        say(answer(b" " * 3_000_000)),
        say(b"nonsense\r\n\r\n"),
    ],
    ids=[
        "closes",
        "hangs",
        "trickles",
        "503",
        "empty",
        "list",
        "no paths",
        "html",
        "binary",
        "deep",
        "rather deep",
        "large",
        "no http",
    ],
)
def test_what_is_no_document_or_comes_too_late_is_missing(respond: Respond) -> None:
    with closing(Upstream(respond)) as upstream, in_time(), pytest.raises(Missing):
        fetch(service(upstream), 0.5)
