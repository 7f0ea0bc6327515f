"""Check the fields of a record, so that the database never rejects a row."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from scaleout.text import identifier, line, nfc

from shop.products.images import object_names
from shop.products.imports.records import REQUIRED, Record
from shop.products.models import NAME_MAX, SKU_MAX, SLUG_MAX, URL_MAX
from shop.products.money import DECIMALS

PRICE_MAX = 2**53 - 1  # what every JSON reader can hold exactly
STOCK_MAX = 2**31 - 1
DESCRIPTION_MAX = 20_000
DEPTH_MAX = 5

_PATH = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Row(NamedTuple):
    """One product. None: the file has no value, so an existing product keeps its own."""

    line: int
    sku: str
    name: str
    category: str  # a path such as outdoor/tents
    price: int
    description: str | None
    currency: str | None
    stock: int | None
    featured: bool | None
    image_url: str | None


class RejectedError(ValueError):
    """The record is not a valid product; the message says why."""


def check(record: Record) -> Row:
    """Return the checked row of a record. Raises RejectedError."""
    if record.fault:
        raise RejectedError(record.fault)
    fields = record.fields
    for name in REQUIRED:
        if fields.get(name, "") == "":
            raise RejectedError(f"{name} is missing")

    def optional[T](name: str, convert: Callable[[str, Any], T]) -> T | None:
        return convert(name, fields[name]) if name in fields else None

    return Row(
        line=record.line,
        sku=_line("sku", fields["sku"], SKU_MAX, identifier),
        name=_line("name", fields["name"], NAME_MAX),
        category=_category("category", fields["category"]),
        price=_number("price", fields["price"], PRICE_MAX),
        description=optional("description", _description),
        currency=optional("currency", _currency),
        stock=optional("stock", lambda name, value: _number(name, value, STOCK_MAX)),
        featured=optional("featured", _boolean),
        image_url=optional("image_url", _image_url),
    )


def _text(name: str, value: object, longest: int, form: Callable[[str], str] = nfc) -> str:
    if not isinstance(value, str):
        raise RejectedError(f"{name} must be text")
    if "\0" in value:
        raise RejectedError(f"{name} contains NUL")
    try:
        value.encode()
        text = form(value).strip()
    except UnicodeEncodeError as error:
        raise RejectedError(f"{name} is not valid UTF-8") from error
    except ValueError as error:
        raise RejectedError(f"{name} {error}") from error
    if len(text) > longest:
        raise RejectedError(f"{name} has {len(text)} characters; at most {longest} are allowed")
    return text


def _line(name: str, value: object, longest: int, form: Callable[[str], str] = line) -> str:
    text = _text(name, value, longest, form)
    if not text:
        raise RejectedError(f"{name} is missing")
    return text


def _description(name: str, value: object) -> str:
    return _text(name, value, DESCRIPTION_MAX)


def _number(name: str, value: object, largest: int) -> int:
    """Return a whole number, given as such or as digits.

    A price is in minor units, so ``12.90`` is rejected.
    """
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        what = "a whole number of minor units (cents)" if name == "price" else "a whole number"
        raise RejectedError(f"{name} must be {what}, not {_shown(value)}")
    if not 0 <= value <= largest:
        raise RejectedError(f"{name} must be between 0 and {largest}")
    return value


def _boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    if value in (0, 1):
        return value == 1
    raise RejectedError(f"{name} must be true or false, not {_shown(value)}")


def _currency(name: str, value: object) -> str:
    if not isinstance(value, str) or value.strip() not in DECIMALS:
        raise RejectedError(f"{name} must be an ISO 4217 code such as EUR, not {_shown(value)}")
    return value.strip()


def _category(name: str, value: object) -> str:
    path = _line(name, value, SLUG_MAX)
    if not _PATH.fullmatch(path):
        raise RejectedError(f"{name} must be a path of slugs such as outdoor/tents, not {_shown(path)}")
    if path.count("/") >= DEPTH_MAX:
        raise RejectedError(f"{name} has more than {DEPTH_MAX} levels")
    return path


def _image_url(name: str, value: object) -> str:
    url = _text(name, value, URL_MAX)
    if object_names.is_address_of_stored(url):
        raise RejectedError(f"{name} is the URL of an uploaded image: leave it out to keep the image")
    if url and not re.fullmatch(r"(https?://|/)[!-~]*", url):
        raise RejectedError(f"{name} must begin with https://, http:// or /, and have no spaces")
    return url


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
