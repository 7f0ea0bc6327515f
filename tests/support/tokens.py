"""Tokens of any user, signed with the users service's key from `make up`."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from support.settings import secret

SECONDS = 900


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(user_id: int, *, staff: bool = False, **claims: Any) -> str:
    """Return a token of the user; `claims` replace the usual ones."""
    key = load_pem_private_key(secret("identity_users_key").encode(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64(key.public_key().public_bytes_raw())}
    kid = _base64(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())  # RFC 7638
    now = int(time.time())
    right = {"iss": "users", "aud": "shop", "sub": str(user_id), "staff": staff, "iat": now, "exp": now + SECONDS}
    return jwt.encode(right | claims, key, "EdDSA", headers={"kid": kid})


def bearer(user_id: int, *, staff: bool = False) -> dict[str, str]:
    """Return the header with a token of the user."""
    return {"Authorization": f"Bearer {token(user_id, staff=staff)}"}
