"""The OpenAPI documents of several services as one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from scaleout.gateway.client.errors import Cut, Failed, Refused
from scaleout.gateway.client.exchange import Request
from scaleout.gateway.client.service import Service

MOST = 2_097_152  # bytes of a document
DEEPEST = 100  # levels of a document: the code that walks through it is recursive
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_REF = "#/components/"

type Document = dict[str, Any]


class Missing(Exception):  # noqa: N818 - names the document's state
    """The service has returned no document in time."""


def fetch(service: Service, seconds: float) -> Document:
    """Return the document of a service, as any caller gets it. Raises Missing after `seconds` at
    the latest.
    """
    until = time.monotonic() + seconds
    request = Request.get(f"/api/{service.name}/openapi.json", [("Host", service.name)])
    try:
        answer = service.call(request, until)
        document = json.loads(answer.read(until, MOST))
    except (Failed, Refused, Cut, ValueError, RecursionError) as error:
        raise Missing(f"{service.name}: {type(error).__name__}: {error}") from error
    if answer.status != 200 or not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise Missing(f"{service.name}: status {answer.status} without a document")
    if _is_deep(document):
        raise Missing(f"{service.name}: the document has more than {DEEPEST} levels")
    return document


def _is_deep(document: Document) -> bool:
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [one for node in level for one in (node.values() if isinstance(node, dict) else node)]
        level = [one for one in level if isinstance(one, dict | list)]
    return bool(level)


def merge(documents: Mapping[str, Document]) -> Document:
    """Return the paths and components of all, each operation with its service's name as its tag.

    Paths keep their prefix, so they never collide. A component that differs between two services
    gets its service's name as a prefix, and so does each reference to it. What holds for a whole
    document (`security`) is written to its operations. Fields outside of OpenAPI are left out, so
    that an odd document spoils no other.
    """
    apart = _differing(documents)
    paths: Document = {}
    components: dict[str, Document] = {}
    for service, document in documents.items():
        names = {key: f"{service}.{key[1]}" for key in apart}
        for kind, name, definition in _components(document):
            components.setdefault(kind, {})[names.get((kind, name), name)] = _renamed(definition, names)
        everywhere = {"security": document["security"]} if isinstance(document.get("security"), list) else {}
        for path, item in _objects(document["paths"]):
            paths[path] = _renamed(
                {
                    key: everywhere | value | {"tags": [service]} if key in _METHODS else value
                    for key, value in item.items()  # a path has parameters, servers and more beside its operations
                    if key not in _METHODS or isinstance(value, dict)
                },
                names,
            )
    infos = {service: document.get("info") for service, document in documents.items()}
    tags = [
        {"name": service, "description": info.get("description", "") if isinstance(info, dict) else ""}
        for service, info in infos.items()
    ]
    return {"openapi": "3.1.0", "tags": tags, "paths": paths, "components": components}


type _Key = tuple[str, str]  # the kind of a component, and its name


def _objects(node: Any) -> Iterator[tuple[str, Document]]:
    """Yield the entries of an object that are objects themselves."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            yield key, value


def _components(document: Document) -> Iterator[tuple[str, str, Any]]:
    for kind, found in _objects(document.get("components")):
        for name, definition in found.items():
            yield kind, name, definition


def _differing(documents: Mapping[str, Document]) -> set[_Key]:
    """Return the components that differ between two services, by their content or by what they
    refer to.
    """
    seen: dict[_Key, Any] = {}
    apart: set[_Key] = set()
    for document in documents.values():
        for kind, name, definition in _components(document):
            if seen.setdefault((kind, name), definition) != definition:
                apart.add((kind, name))
    while more := {key for key in seen.keys() - apart if not apart.isdisjoint(_references(seen[key]))}:
        apart |= more
    return apart


def _references(node: Any) -> Iterator[_Key]:
    match node:
        case dict():
            for value in node.values():
                yield from _references(value)
        case list():
            for value in node:
                yield from _references(value)
        case str() if node.startswith(_REF) and node.count("/") == 3:
            _, _, kind, name = node.split("/")
            yield kind, name


def _renamed(node: Any, names: Mapping[_Key, str]) -> Any:
    """Return a copy with new references and names of security schemes."""
    match node:
        case dict():
            copy = {key: _renamed(value, names) for key, value in node.items()}
            if isinstance(security := copy.get("security"), list):
                copy["security"] = [
                    {names.get(("securitySchemes", name), name): scopes for name, scopes in one.items()}
                    if isinstance(one, dict)
                    else one
                    for one in security
                ]
            return copy
        case list():
            return [_renamed(value, names) for value in node]
        case str() if node.startswith(_REF) and node.count("/") == 3:
            _, _, kind, name = node.split("/")
            return f"{_REF}{kind}/{names.get((kind, name), name)}"
    return node
