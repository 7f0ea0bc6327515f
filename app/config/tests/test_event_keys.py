"""An event is believed if the service that owns its name has signed it as it comes, for this
consumer.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from celery import current_app
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings as configured
from django.db import transaction
from prometheus_client import REGISTRY
from pytest_django import Settings
from scaleout.base import Breaker
from scaleout.events import sending
from scaleout.events.models import Inbox, Outbox
from scaleout.events.outbox import publish
from scaleout.events.relay import relay
from scaleout.events.signing import HEADER
from scaleout.events.tests.conftest import HANDLE
from scaleout.events.tests.tasks import TABLE
from scaleout.identity import keys
from shop import services

import redis

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])


def pair() -> tuple[keys.Signer, dict[str, Ed25519PublicKey]]:
    private = Ed25519PrivateKey.generate()
    kid = keys.thumbprint(private.public_key())
    return keys.Signer(kid, private), {kid: private.public_key()}


PAIRS = {name: pair() for name in ("users", "orders")}
PUBLIC = {name: public for name, (_, public) in PAIRS.items()}


def as_service(settings: Settings, name: str | None) -> None:
    """Sign as this service from here on; receive as one who believes all."""
    settings.EVENTS_KEYRING = keys.keyring("shop", PAIRS[name][0] if name else None, PUBLIC)


@pytest.fixture(autouse=True)
def _events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTS = {
        "CONSUMERS": {"happened": [HANDLE], "other": [HANDLE]},
        "HEADERS": "scaleout.events.tests.tasks.headers",
        "SIGN": "config.event_keys.sign",
        "VERIFY": "config.event_keys.verify",
    }
    settings.EVENTS_OWNERS = {"happened": "users", "other": "orders"}
    as_service(settings, "users")
    monkeypatch.setattr(sending, "_breaker", Breaker(sending.PAUSE))
    monkeypatch.setattr(sending, "_lengths", {})


@pytest.fixture(autouse=True)
def _table(transactional_db: None) -> Any:
    from django.db import connection  # noqa: PLC0415 - Django comes first
    from scaleout.events.tests import tasks  # noqa: F401, PLC0415 - the consumers

    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (id bigserial, label text)")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


def queue() -> Any:
    return redis.Redis(unix_socket_path=configured.QUEUE_URL.split("//")[1].split("?")[0], db=1)


def sent() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the headers and the event of each message that waits, and take them."""
    found = []
    for name in services.QUEUES:
        while message := queue().rpop(name):
            envelope = json.loads(message)
            found.append((envelope["headers"], json.loads(base64.b64decode(envelope["body"]))[1]["event"]))
    return found


def tell(name: str = "happened") -> None:
    with transaction.atomic():
        publish(name, aggregate="one", label="x")


def receive(headers: dict[str, Any], event: dict[str, Any]) -> bool:
    """Give a consumer the message; return whether it had its effect."""
    before = Inbox.objects.count()
    current_app.tasks[HANDLE].apply(kwargs={"event": event}, headers=headers, throw=True)
    return Inbox.objects.count() > before


def refusals(name: str) -> float:
    return REGISTRY.get_sample_value("events_refused_total", {"event": name}) or 0.0


def test_an_event_that_its_owner_has_signed_is_received() -> None:
    tell()
    ((headers, event),) = sent()
    assert receive(headers, event)


@pytest.mark.parametrize(
    "forged", ["unsigned", "by another service", "other data", "another outbox", "another name", "nonsense", "no event"]
)
def test_any_other_is_dropped_counted_and_answered_with_nothing(
    forged: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    if forged == "by another service":
        as_service(settings, "orders")
    tell()
    ((headers, event),) = sent()
    if forged == "unsigned":
        del headers[HEADER]
    elif forged == "nonsense":
        headers[HEADER] = "no.sig%nature"
    elif forged == "no event":
        event = {"name": "happened", "consumer": HANDLE, "id": {"a": 1}}
    else:
        changes: dict[str, dict[str, Any]] = {
            "other data": {"data": {"label": "theirs"}},
            "another outbox": {"outbox": "shard0"},
            "another name": {"name": "other"},
        }
        event |= changes.get(forged, {})
    before = refusals(str(event["name"]))
    assert not receive(headers, event)
    assert refusals(str(event["name"])) == before + 1
    assert "not signed by its owner" in caplog.text
    assert sent() == [], "an answer would let a forger have good events parked"
    assert Outbox.objects.count() == 1


def test_an_event_signed_for_one_consumer_is_refused_by_another(settings: Settings) -> None:
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": {"happened": ["elsewhere.tasks.handle"]}}
    tell()
    ((headers, event),) = sent()
    assert not receive(headers, event)


def test_one_that_the_release_before_has_sent_comes_again_with_a_signature(settings: Settings) -> None:
    settings.EVENTS = settings.EVENTS | {"SIGN": None}  # as it sends
    tell()
    ((headers, event),) = sent()
    assert HEADER not in headers
    assert not receive(headers, event)
    settings.EVENTS = settings.EVENTS | {"SIGN": "config.event_keys.sign"}
    Outbox.objects.update(due_at="2020-01-01T00:00:00Z", known=2)
    assert relay() == 1
    ((headers, event),) = sent()
    assert receive(headers, event)


def test_a_process_without_a_key_leaves_its_events_to_the_relay_of_one_that_has_it(settings: Settings) -> None:
    as_service(settings, None)
    tell()
    assert sent() == []
    as_service(settings, "users")
    Outbox.objects.update(due_at="2020-01-01T00:00:00Z", known=2)
    assert relay() == 1
    ((headers, event),) = sent()
    assert receive(headers, event)
