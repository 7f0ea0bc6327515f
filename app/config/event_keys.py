"""The keys of events: the sender signs, and the receiver verifies that the event is its owner's.

Tokens have other keys: a worker signs events, and must not be able to say who a user is.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from django.conf import settings
from scaleout.identity import keys
from shop.services import EVENT_SIGNERS, EVENT_SOURCES, context

from config.identity import read


def keyring(service: str) -> keys.Keyring:
    """Return the key that `service` signs events with (EVENTS_KEY_FILE), and the keys that it
    trusts.
    """
    own = context(service)
    signer = read("EVENTS_KEY", keys.signer) if service in EVENT_SIGNERS else None
    sources = EVENT_SOURCES.get(service, ())
    return keys.keyring(own, signer, {one: read(f"EVENTS_{one.upper()}_KEYS", keys.public_keys) for one in sources})


def sign(message: bytes) -> str | None:
    """Return the signature of a message and the name of its key; None if this service has none."""
    signer = settings.EVENTS_KEYRING.signer
    if signer is None:
        return None
    return f"{signer.kid}.{base64.urlsafe_b64encode(signer.key.sign(message)).decode()}"


def verify(name: str, message: bytes, signature: str) -> bool:
    """Return whether the owner of the event `name` has signed `message`.

    Raises ValueError for a malformed signature.
    """
    kid, _, encoded = signature.partition(".")
    owner, key = settings.EVENTS_KEYRING.trusted.get(kid, ("", None))
    if key is None or owner != settings.EVENTS_OWNERS.get(name):
        return False
    try:
        key.verify(base64.urlsafe_b64decode(encoded), message)
    except InvalidSignature:
        return False
    return True
