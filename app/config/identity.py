"""This service's keys, from files. A bad one stops it with one line that names the setting."""

from __future__ import annotations

from collections.abc import Callable

from scaleout.identity import keys
from shop.services import APIS, ISSUERS

from config import environment


def keyring(service: str) -> keys.Keyring:
    """Return what `service` signs with, from IDENTITY_KEY_FILE where it is an issuer, and whom it
    believes.

    One that has no API signs nothing and believes nobody.
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
