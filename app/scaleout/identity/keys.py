"""Ed25519 keys in PEM: the key that this service signs with, and the keys of the issuers it trusts.

Each service that signs has a key pair of its own; the private half is in no other service. The name
of a key (`kid`) is its RFC 7638 thumbprint, so keys need no chosen names. A file of public keys may
hold several: the old one and the new one during a change of keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True)
class Signer:
    """A private key and its name."""

    kid: str
    key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True)
class Keyring:
    """The signer of one service (None if it only verifies), and the issuer and key that each `kid`
    names.
    """

    service: str
    signer: Signer | None
    trusted: Mapping[str, tuple[str, Ed25519PublicKey]]


def thumbprint(key: Ed25519PublicKey) -> str:
    """Return the key's name: its RFC 7638 thumbprint."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64(key.public_bytes_raw())}
    return _base64(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())


def signer(pem: str) -> Signer:
    """Return the private key in `pem`. Raises ValueError if it holds none."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("holds no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("must hold an Ed25519 key")
    return Signer(thumbprint(key.public_key()), key)


def public_keys(pem: str) -> dict[str, Ed25519PublicKey]:
    """Return the public keys in `pem` by their names. Raises ValueError if it holds none, or one of
    another kind.
    """
    found: dict[str, Ed25519PublicKey] = {}
    for block in _PUBLIC.findall(pem):
        try:
            key = load_pem_public_key(block.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("holds a public key that cannot be read") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("must hold Ed25519 keys only")
        found[thumbprint(key)] = key
    if not found:
        raise ValueError("holds no public key in PEM")
    return found


def keyring(service: str, private: Signer | None, public: Mapping[str, Mapping[str, Ed25519PublicKey]]) -> Keyring:
    """Return the keyring of `service`; `public` names the keys of each issuer."""
    trusted = {kid: (issuer, key) for issuer, keys in public.items() for kid, key in keys.items()}
    return Keyring(service, private, trusted)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
