"""Signed tokens (JWT, EdDSA), made by one service and checked by all without a look-up.

| token   | `iss`         | `aud`              | `sub`         | lives            |
|---------|---------------|--------------------|---------------|------------------|
| user    | `users`       | `shop`             | the user's id | 15 minutes       |
| refresh | `users`       | `refresh`          | the login's id| 30 days          |
| service | who calls     | the called service | who calls     | 30 seconds       |

The key decides the issuer, not the token: so a service's key signs that service's calls and nothing
else, and only the key of `users` can say who a user is. A user's token of a login names it (`sid`),
and is refused once that has ended (`scaleout.identity.revocation`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from scaleout.identity import revocation
from scaleout.identity.conf import conf

ALGORITHM = "EdDSA"
USERS = "users"
AUDIENCE = "shop"
REFRESH = "refresh"
USER_SECONDS = 900  # a token says "staff" for at most as long
REFRESH_SECONDS = 30 * 86_400
SERVICE_SECONDS = 30
LEEWAY = 5  # seconds that two clocks may differ
_REQUIRED = ["iss", "aud", "sub", "iat", "exp"]
_ID_DIGITS = 18


class BadToken(Exception):  # noqa: N818 - names the token, not the error
    """The token is malformed, expired, or for another service."""


@dataclass(frozen=True)
class Caller:
    """The caller: a user, or with `service` one of the services."""

    user_id: int | None = None
    is_staff: bool = False
    service: str = ""
    login: str = field(default="", compare=False)  # of a user's token; empty for a token without a login

    def may_see(self, user_id: int) -> bool:
        """Return whether the caller may see and change what belongs to this user."""
        return self.is_staff or self.user_id == user_id


def for_user(user_id: int, *, is_staff: bool, login: str = "") -> str:
    """Return a token of a user, for USER_SECONDS. Verifiers trust it from the service
    `users` only.
    """
    claims = {"aud": AUDIENCE, "sub": str(user_id), "staff": is_staff}
    return _sign(claims | ({"sid": login} if login else {}), USER_SECONDS)


def for_refresh(login: int, generation: int) -> str:
    """Return the refresh token of a login and a generation, for REFRESH_SECONDS. It has no other
    use.
    """
    return _sign({"aud": REFRESH, "sub": str(login), "gen": generation}, REFRESH_SECONDS)


def read_refresh(token: str) -> tuple[int, int]:
    """Return the login and the generation of a refresh token. Raises BadToken."""
    issuer, claims = _decode(token, [REFRESH])
    generation = claims.get("gen")
    if issuer != USERS or not _is_id(claims["sub"]) or type(generation) is not int:
        raise BadToken("the token is not a refresh token")
    return int(claims["sub"]), generation


def for_service(audience: str) -> str:
    """Return a token for one call of this service to the service `audience`."""
    return _sign({"aud": audience, "sub": conf().keyring.service}, SERVICE_SECONDS)


def verify(token: str) -> Caller:
    """Return the caller that the token names. Raises BadToken."""
    service = conf().keyring.service
    _, claims = _decode(token, [AUDIENCE, service])
    found = _caller(claims, service)
    if found.login and found.login in revocation.revoked:
        raise BadToken("the login of the token has ended")
    return found


def _decode(token: str, audience: list[str]) -> tuple[str, dict[str, Any]]:
    ring = conf().keyring
    try:
        issuer, key = ring.trusted[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],  # never the token's own choice
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": _REQUIRED},
        )
    # A header can be any JSON: nested too deeply, a number too long, a list where a name should be.
    except (jwt.PyJWTError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise BadToken(str(error)) from error
    return issuer, claims


def _is_id(subject: str) -> bool:
    return subject.isascii() and subject.isdigit() and len(subject) <= _ID_DIGITS


def _caller(claims: dict[str, Any], service: str) -> Caller:
    audience, issuer, subject = claims["aud"], claims["iss"], claims["sub"]
    if audience == AUDIENCE and issuer == USERS and _is_id(subject):
        login = claims.get("sid", "")
        if isinstance(login, str):
            return Caller(user_id=int(subject), is_staff=claims.get("staff") is True, login=login)
    elif audience == service and subject == issuer:
        return Caller(service=issuer)
    raise BadToken("the token is not for this service")


def _sign(claims: dict[str, Any], seconds: int) -> str:
    ring = conf().keyring
    if ring.signer is None:
        raise RuntimeError(f"{ring.service} has no key to sign with")
    now = int(time.time())
    stamped = {"iss": ring.service, "iat": now, "exp": now + seconds, **claims}
    return jwt.encode(stamped, ring.signer.key, ALGORITHM, headers={"kid": ring.signer.kid})
