"""This service's keys, from files. A bad key stops it with one line that names the setting."""

from __future__ import annotations

from collections.abc import Callable

from scaleout.identity import keys
from shop.services import APIS, ISSUERS

from config import environment


def keyring(service: str) -> keys.Keyring:
    """Return the key that `service` signs with (IDENTITY_KEY_FILE, issuers only) and the keys it
    trusts.

    A service without an API signs nothing and trusts no issuer.
    """
    if service not in APIS:
        return keys.keyring(service, None, {})
    signer = read("IDENTITY_KEY", keys.signer) if service in ISSUERS else None
    public = {issuer: read(f"IDENTITY_{issuer.upper()}_KEYS", keys.public_keys) for issuer in ISSUERS}
    return keys.keyring(service, signer, public)


def read[T](name: str, parse: Callable[[str], T]) -> T:
    """Return what `parse` makes of the PEM in the file that `<name>_FILE` names."""
    pem = environment.secret(name)
    try:
        return parse(pem)
    except ValueError as error:
        environment.refuse(f"{name}_FILE", str(error))
