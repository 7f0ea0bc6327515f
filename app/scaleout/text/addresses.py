"""E-mail addresses in the one form in which they are unique."""

from __future__ import annotations

import unicodedata

import idna
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from scaleout.text.forms import line


def address(text: str, longest: int) -> str:
    """Return an e-mail address: lower case, NFKC, the domain in its IDNA 2008 form (`xn--…`).

    Raises ValidationError for an invalid address, or one with an invisible character. A quoted
    local part and an IP address as the domain are refused: each has many spellings.
    """
    try:
        local, _, domain = unicodedata.normalize("NFKC", line(text)).lower().rpartition("@")
        made = f"{local}@{idna.encode(domain, uts46=True).decode()}"
    except ValueError as error:  # idna's errors are ValueErrors as well
        raise ValidationError("Enter a valid email address.") from error
    validate_email(made)
    if local.startswith('"'):
        raise ValidationError("Enter an address without quotation marks.")
    if len(made) > longest:  # checked last: both forms can make it longer
        raise ValidationError(f"An address has at most {longest} characters.")
    return made
