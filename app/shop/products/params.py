"""Values of query parameters, checked before anything reaches the database.

An empty parameter counts as not given and an unknown one is ignored.
"""

from scaleout.text import sought

from shop.products import cursors
from shop.products.catalog import PAGE_SIZE, PAGE_SIZE_MAX
from shop.products.models import SLUG_MAX

QUERY_MAX = 200
IDS_MAX = 50
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_DIGITS_MAX = 18  # so each number fits a bigint


class BadParameterError(ValueError):
    """A parameter has an invalid value. The message is the problem's detail."""


def search_text(text: str) -> str:
    """Return the words to look for."""
    if "\0" in text:
        raise BadParameterError("q must not contain NUL.")
    if len(text) > QUERY_MAX:
        raise BadParameterError(f"q must have at most {QUERY_MAX} characters.")
    try:
        return sought(text)
    except ValueError as error:
        raise BadParameterError(f"q {error}") from error


def ids(text: str) -> list[int]:
    """Return the requested ids; an empty list if the parameter is not given."""
    texts = text.split(",") if text else []
    if len(texts) > IDS_MAX:
        raise BadParameterError(f"ids must have at most {IDS_MAX} values.")
    found = [identifier(text) for text in texts]
    if None in found:
        raise BadParameterError("ids must be product ids, separated by commas.")
    return [one for one in found if one is not None]


def cursor(text: str) -> int:
    """Return the id after which the page begins; 0 for the first page."""
    if not text:
        return 0
    try:
        return cursors.decode(text)
    except cursors.BadCursorError as error:
        raise BadParameterError("cursor must be the `next` of an earlier answer.") from error


def limit(text: str) -> int:
    """Return the page size; a larger value than the maximum gives the maximum."""
    if not text:
        return PAGE_SIZE
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise BadParameterError("limit must be a whole number from 1.")
    digits = text.lstrip("0")
    return min(int(digits), PAGE_SIZE_MAX) if len(digits) <= _DIGITS_MAX else PAGE_SIZE_MAX


def featured(text: str) -> bool | None:
    """Return whether only featured products are wanted, None for all."""
    if not text:
        return None
    if text not in _BOOLEANS:
        raise BadParameterError("featured must be true or false.")
    return _BOOLEANS[text]


def identifier(text: str) -> int | None:
    """Return the product id in a path, or None if no product can have it."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and not text.startswith("0"):
        return int(text)
    return None


def slug(text: str) -> str | None:
    """Return the category slug, or None if no category can have it."""
    return text if len(text) <= SLUG_MAX else None
