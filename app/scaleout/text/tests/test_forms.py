"""Texts that read the same are equal, and invisible characters are refused."""

from __future__ import annotations

import unicodedata

import pytest
from django.core.exceptions import ValidationError

from scaleout.text import address, identifier, line, nfc, secret, sought

NFD_CAFE, NFC_CAFE = "Cafe\u0301", "Caf\u00e9"


@pytest.mark.parametrize("form", [nfc, line, identifier, secret, sought])
def test_each_form_of_a_text_becomes_one(form: object) -> None:
    assert callable(form)
    assert form(NFD_CAFE) == form(NFC_CAFE) == NFC_CAFE


@pytest.mark.parametrize("form", [nfc, line, identifier, secret, sought])
def test_a_run_of_marks_that_would_take_quadratic_time_is_refused(form: object) -> None:
    assert callable(form)
    assert form("a" + "\u0323" * 30)
    with pytest.raises(ValueError, match="more than 30 combining marks in a row"):
        form("a" + "\u0301\u0323" * 200_000)


@pytest.mark.parametrize(
    "hidden", ["\u00ad", "\u200e", "\u200f", "\u202e", "\u2066", "\u200b", "\u2060", "\ufeff", "\u3164", "\u2028"]
)
def test_a_name_has_no_character_that_does_not_show(hidden: str) -> None:
    with pytest.raises(ValueError, match=f"U\\+{ord(hidden):04X}"):
        line(f"Te{hidden}nt")


@pytest.mark.parametrize("control", ["\0", "\n", "\x07", "\x85"])
def test_a_name_has_no_control_character(control: str) -> None:
    with pytest.raises(ValueError, match="a control character"):
        line(f"Te{control}nt")


@pytest.mark.parametrize("name", ["\u200d", "\u2800", "\u0301", "\ufe0f\u200c"])
def test_a_name_of_which_nothing_shows_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no visible character"):
        line(name)


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f469\u200d\U0001f4bb",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
        "\u0915\u094d\u200d\u0937",
        "Zoë",
        "李",
        "❤\ufe0f",
    ],
)
def test_names_of_any_script_pass_as_they_are(name: str) -> None:
    assert line(f"  {name}\u00a0") == name


@pytest.mark.parametrize("sku", ["TENT\u00ad1", "TENT\u200d1", "A\u034fB", "A\u0378B"])
def test_an_identifier_has_only_what_precis_lets_into_one(sku: str) -> None:
    with pytest.raises(ValueError, match=r"U\+"):
        identifier(sku)


def test_spaces_of_identifiers_and_passwords_are_one_character() -> None:
    assert identifier("TENT\u00a01 ") == "TENT 1"
    assert secret("öl\u00a0und\u3000essig ") == "öl und essig "


def test_a_password_may_have_what_does_not_show() -> None:
    assert secret("\u200b\u00ad geheim") == "\u200b\u00ad geheim"


def test_what_is_searched_for_loses_what_names_cannot_have() -> None:
    assert sought("Te\u00adnt\u200e ") == "Tent"


@pytest.mark.parametrize(
    "given",
    ["bob@münchen.example", "BOB@MÜNCHEN.example", unicodedata.normalize("NFD", "bob@münchen.example"),
     "bob@xn--mnchen-3ya.example", "Bob@XN--MNCHEN-3YA.example", "bob@münchen。example", " bob@münchen.example "],
)  # fmt: skip
def test_each_spelling_of_an_address_becomes_one(given: str) -> None:
    assert address(given, 254) == "bob@xn--mnchen-3ya.example"


@pytest.mark.parametrize(
    "given",
    ["bob@exa\u00admple.org", "b\u200eob@example.org", "bob\u202e@example.org", "bob@xn--a.example", "bob@", "@", "",
     "bob", '"bob"@example.org', "bob@[127.0.0.1]", "bob@[IPv6:::1]", "bob@-a.example",
     f"bob@{'ü' * 64}.example", "\ud800@example.org",
     f"bob@{'münchen.' * 20}example"],
)  # fmt: skip
def test_what_is_no_address_or_has_two_spellings_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        address(given, 254)
