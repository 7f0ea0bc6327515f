"""The caller's identity: signed tokens that each service checks by itself, passwords, and limits of
attempts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.identity.bearer import Bearer, StaffBearer
    from scaleout.identity.keys import Keyring, Signer, keyring, public_keys, signer
    from scaleout.identity.throttle import Limit
    from scaleout.identity.tokens import BadToken, Caller

__all__ = [
    "BadToken",
    "Bearer",
    "Caller",
    "Keyring",
    "Limit",
    "Signer",
    "StaffBearer",
    "keyring",
    "public_keys",
    "signer",
]
_HOMES = {
    "BadToken": "tokens",
    "Bearer": "bearer",
    "Caller": "tokens",
    "Keyring": "keys",
    "Limit": "throttle",
    "Signer": "keys",
    "StaffBearer": "bearer",
    "keyring": "keys",
    "public_keys": "keys",
    "signer": "keys",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
