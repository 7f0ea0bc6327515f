"""Normal forms of texts, names, identifiers, passwords and search terms."""

from __future__ import annotations

import unicodedata
from itertools import groupby

from precis_i18n import get_profile

_MARKS_MAX = 30  # in a row, as in UAX #15's stream-safe format: CPython sorts a run of them in quadratic time
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them
# Fillers and the grapheme joiner are invisible, but Unicode counts them as letters or marks, not as
# format characters.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
_BLANK = "\u2800"  # a Braille pattern without a dot
_OPAQUE = get_profile("OpaqueString")


def nfc(text: str) -> str:
    """Return `text` in NFC. Raises ValueError if too many marks follow each other."""
    if text.isascii():
        return text
    if any(marks and sum(1 for _ in run) > _MARKS_MAX for marks, run in groupby(text, _is_mark)):
        raise ValueError(f"has more than {_MARKS_MAX} combining marks in a row")
    return unicodedata.normalize("NFC", text)


def line(text: str) -> str:
    """Return a name of one line: NFC, without space around it.

    Raises ValueError for a control character, for an invisible one (a soft hyphen, a direction
    mark, a filler), and for a name without a visible character.
    """
    text = nfc(text).strip()
    if hidden := next(filter(_is_hidden, text), None):
        if unicodedata.category(hidden) == "Cc":
            raise ValueError("contains a control character")
        raise ValueError(f"contains the invisible character U+{ord(hidden):04X}")
    if text and not any(unicodedata.category(one)[0] in "LNPS" and one != _BLANK for one in text):
        raise ValueError("has no visible character")
    return text


def identifier(text: str) -> str:
    """Return an identifier, such as a SKU, by PRECIS's OpaqueString (RFC 8265): NFC, spaces as
    U+0020.

    Raises ValueError for what `line` refuses, and for characters that are unassigned or not meant
    for identifiers.
    """
    text = line(text)
    try:
        return _OPAQUE.enforce(text) if text else text
    except UnicodeEncodeError as error:
        raise ValueError(f"contains U+{ord(text[error.start]):04X}, which is not for identifiers") from error


def secret(text: str) -> str:
    """Return a password as it is hashed: NFC, each space as U+0020 (RFC 8265). Refuses only what
    `nfc` does.
    """
    spaces = (" " if unicodedata.category(one) == "Zs" else one for one in text)
    return text if text.isascii() else nfc("".join(spaces))


def sought(text: str) -> str:
    """Return a search term in the normal form of names, without the characters that names cannot
    contain.
    """
    return nfc("".join(one for one in text if not _is_hidden(one))).strip()


def _is_mark(one: str) -> bool:
    return unicodedata.combining(one) > 0


def _is_hidden(one: str) -> bool:
    return (unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") and one not in _JOINERS) or one in _FILLERS
