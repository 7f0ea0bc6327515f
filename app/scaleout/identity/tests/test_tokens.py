"""A token names the caller, and cannot be made without the key."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory
from ninja.errors import AuthenticationError
from pytest_django import Settings

from scaleout.identity import bearer, keys
from scaleout.identity.tests.conftest import As, pem_pair
from scaleout.identity.tokens import BadToken, Caller, for_service, for_user, verify

Pairs = dict[str, tuple[str, str]]


def forge(pem: str, kid: str | None = None, **claims: Any) -> str:
    """Sign `claims` on top of those of a good user's token with the key in `pem`."""
    now = int(time.time())
    good = {"iss": "users", "aud": "shop", "sub": "7", "staff": True, "iat": now, "exp": now + 60}
    named = keys.signer(pem)
    stamped = {name: value for name, value in (good | claims).items() if value is not None}
    # Not by jwt.encode: that refuses some of what is tried here.
    return jwt.PyJWS().encode(json.dumps(stamped).encode(), named.key, "EdDSA", headers={"kid": kid or named.kid})


def unsigned(header: Any, payload: Any = None, signature: str = "") -> str:
    now = int(time.time())
    good = {"iss": "users", "aud": "shop", "sub": "7", "staff": True, "iat": now, "exp": now + 60}
    return ".".join([_part(header), _part(payload or good), signature])


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def trusted_kid() -> str:
    ring: keys.Keyring = django_settings.IDENTITY["KEYRING"]
    return next(kid for kid, (issuer, _) in ring.trusted.items() if issuer == "users")


def test_a_users_token_is_believed_by_every_service(become: As) -> None:
    token, staff = for_user(42, is_staff=False), for_user(1, is_staff=True)
    for service in ("users", "orders", "products"):
        become(service)
        assert verify(token) == Caller(user_id=42)
        assert verify(staff) == Caller(user_id=1, is_staff=True)


def test_a_services_token_is_believed_by_the_service_that_it_names_only(become: As) -> None:
    token = for_service("orders")
    become("orders")
    assert verify(token) == Caller(service="users")
    for service in ("users", "products"):
        become(service)
        with pytest.raises(BadToken):
            verify(token)


def test_a_services_token_sees_nothing_of_a_user_by_itself(become: As) -> None:
    token = for_service("orders")
    become("orders")
    caller = verify(token)
    assert not caller.may_see(7)
    assert not caller.is_staff


def test_a_service_cannot_say_who_a_user_is_nor_be_another_service(become: As, pairs: Pairs) -> None:
    orders = pairs["orders"][0]
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {},
        {"iss": "orders"},
        {"iss": "orders", "aud": "products", "sub": "users"},
        {"iss": "users", "aud": "products", "sub": "users"},
    ]
    become("products")
    for claims in wrong:
        with pytest.raises(BadToken):
            verify(forge(orders, **claims))
    assert verify(forge(orders, iss="orders", aud="products", sub="orders", exp=now + 5)) == Caller(service="orders")


def test_a_token_ends(become: As, pairs: Pairs) -> None:
    now = int(time.time())
    assert verify(forge(pairs["users"][0], exp=now)).user_id == 7, "two clocks may differ by some seconds"
    wrong: list[dict[str, Any]] = [{"exp": now - 6}, {"iat": now + 30}, {"nbf": now + 30}]
    for claims in wrong:
        with pytest.raises(BadToken):
            verify(forge(pairs["users"][0], **claims))


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "iat", "exp"])
def test_a_token_without_one_of_the_claims_is_none(become: As, pairs: Pairs, missing: str) -> None:
    with pytest.raises(BadToken):
        verify(forge(pairs["users"][0], **{missing: None}))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another shop"}, {"aud": ["shop"]}, {"aud": ["shop", "users"]}, {"aud": 7}, {"iss": "stranger"},
        {"iss": ["users"]}, {"sub": 7}, {"sub": "x"}, {"sub": "-7"}, {"sub": "7.5"}, {"sub": ""},
        {"sub": "9" * 40}, {"sub": "\u0667"}, {"exp": "never"}, {"exp": []}, {"iat": {}},
    ],
)  # fmt: skip
def test_a_signed_token_with_a_claim_that_is_wrong_is_none(become: As, pairs: Pairs, claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        verify(forge(pairs["users"][0], **claims))


def test_the_longest_id_that_a_token_may_name_has_18_digits(become: As, pairs: Pairs) -> None:
    assert verify(forge(pairs["users"][0], sub="9" * 18)).user_id == 10**18 - 1
    with pytest.raises(BadToken):
        verify(forge(pairs["users"][0], sub="9" * 19))


@pytest.mark.parametrize("staff", ["yes", 1, [True], None, "true"])
def test_staff_is_who_is_said_to_be_with_true_and_nothing_else(become: As, pairs: Pairs, staff: Any) -> None:
    assert not verify(forge(pairs["users"][0], staff=staff)).is_staff


def test_another_key_does_not_do_even_under_a_known_name(become: As) -> None:
    stranger, _ = pem_pair()
    for token in (forge(stranger), forge(stranger, kid=trusted_kid())):
        with pytest.raises(BadToken):
            verify(token)


def test_a_token_that_was_changed_is_none(become: As) -> None:
    head, body, signature = for_user(7, is_staff=False).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = _part(claims | {"staff": True})
    for rest in (f"{changed}.{signature}", f"{body}.", body, f"{body}.{signature[:-4]}"):
        with pytest.raises(BadToken):
            verify(f"{head}.{rest}")


def test_the_algorithm_is_not_the_tokens_to_choose(become: As, pairs: Pairs) -> None:
    kid, public = trusted_kid(), pairs["users"][1]
    algorithms: list[Any] = ["none", "None", "", "HS256", "RS256", None, [], {"a": 1}]
    for algorithm in algorithms:
        with pytest.raises(BadToken):
            verify(unsigned({"alg": algorithm, "kid": kid, "typ": "JWT"}))
    # The classic: the public key, which everybody knows, taken for a shared secret.
    now = int(time.time())
    signed = jwt.PyJWS().encode(
        json.dumps({"iss": "users", "aud": "shop", "sub": "7", "iat": now, "exp": now + 60}).encode(),
        key=base64.b64encode(public.encode()),
        algorithm="HS256",
        headers={"kid": kid},
    )
    with pytest.raises(BadToken):
        verify(signed)


@pytest.mark.parametrize(
    "header",
    [
        {}, {"alg": "EdDSA"}, {"alg": "EdDSA", "kid": None}, {"alg": "EdDSA", "kid": []}, {"alg": "EdDSA", "kid": {}},
        {"alg": "EdDSA", "kid": "unknown"}, {"alg": "EdDSA", "kid": "\ud800"}, {"alg": "EdDSA", "kid": "a\0"},
        [], 7, "x", b"[" * 3000, b"{" * 3000, b"9" * 5000, b"\xff\xfe", b'{"alg": "EdDSA", "kid": ' + b"[" * 2000,
    ],
)  # fmt: skip
def test_a_header_that_is_nonsense_is_no_error_of_ours(become: As, header: Any) -> None:
    with pytest.raises(BadToken):
        verify(unsigned(header, signature="AAAA"))


@pytest.mark.parametrize("token", ["", ".", "..", "...", "a.b.c", "\0", "\ud800", "é.é.é", "=.=.=", "A" * 8000])
def test_a_text_that_is_no_token_is_none(become: As, token: str) -> None:
    with pytest.raises(BadToken):
        verify(token)


def test_keys_are_changed_without_a_token_that_fails(settings: Settings) -> None:
    (old, old_public), (new, new_public) = pem_pair(), pem_pair()

    def verifier(*public: str) -> keys.Keyring:
        return keys.keyring("products", None, {"users": keys.public_keys("".join(public))})

    def signed_with(pem: str) -> str:
        settings.IDENTITY = {"KEYRING": keys.keyring("users", keys.signer(pem), {})}
        return for_user(7, is_staff=False)

    before, after = signed_with(old), signed_with(new)
    settings.IDENTITY = {"KEYRING": verifier(old_public, new_public)}
    assert verify(before) == verify(after) == Caller(user_id=7)
    settings.IDENTITY = {"KEYRING": verifier(new_public)}
    assert verify(after) == Caller(user_id=7)
    with pytest.raises(BadToken):
        verify(before)


def test_who_has_no_key_signs_nothing(become: As) -> None:
    become("products")
    with pytest.raises(RuntimeError, match="products has no key"):
        for_user(7, is_staff=True)


def test_a_file_without_a_key_of_the_right_kind_is_refused() -> None:
    private, public = pem_pair()
    for pem in ("", "text", public, private[:60]):
        with pytest.raises(ValueError, match="holds no private key"):
            keys.signer(pem)
    for pem in ("", "text", private):
        with pytest.raises(ValueError, match="holds no public key"):
            keys.public_keys(pem)
    with pytest.raises(ValueError, match="cannot be read"):
        keys.public_keys(public.replace("MC", "XX"))


def test_a_key_does_not_show_itself() -> None:
    assert "PrivateKey" not in repr(keys.signer(pem_pair()[0]))


def test_the_user_of_a_request_is_known_before_its_view_and_its_token_is_checked_once(
    become: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, checked = for_user(42, is_staff=False), list[str]()
    request = RequestFactory().get("/", headers={"authorization": f"Bearer {token}"})

    def check(one: str) -> Caller:
        checked.append(one)
        return verify(one)

    monkeypatch.setattr(bearer, "verify", check)
    assert bearer.user_key(request) == "user:42"
    assert bearer.Bearer().authenticate(request, token) == Caller(user_id=42)
    assert checked == [token]
    with pytest.raises(AuthenticationError):
        bearer.Bearer().authenticate(request, f"{token}x")
    calling = for_service("orders")
    become("orders")
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", f"Bearer {token}x", f"Basic {token}", f"Bearer {calling}"):
        assert bearer.user_key(RequestFactory().get("/", headers={"authorization": header})) is None
