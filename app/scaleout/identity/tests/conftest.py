"""Fixtures of the tests of identity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pytest_django import Settings

from scaleout.identity import keys

type As = Callable[[str], None]


def pem_pair() -> tuple[str, str]:
    """Return a new private key and its public one, as `openssl` writes them."""
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return secret.decode(), public.decode()


@pytest.fixture
def pairs() -> dict[str, tuple[str, str]]:
    """A key pair of each issuer."""
    return {"users": pem_pair(), "orders": pem_pair()}


@pytest.fixture
def become(settings: Settings, pairs: dict[str, tuple[str, str]]) -> As:
    """`become("orders")`: from now on this process signs and verifies as that service."""
    public = {issuer: keys.public_keys(pem) for issuer, (_, pem) in pairs.items()}

    def switch(service: str) -> None:
        private = keys.signer(pairs[service][0]) if service in pairs else None
        settings.IDENTITY = {"KEYRING": keys.keyring(service, private, public)}

    switch("users")
    return switch
