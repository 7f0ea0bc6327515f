"""`/api/users/token`, and refresh, logout and change of the password."""

from __future__ import annotations

import unicodedata
from typing import Any, NoReturn

from django.contrib.auth.hashers import make_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest
from ninja import Router, Schema, Status
from pydantic import Field
from scaleout.gateway import by_address
from scaleout.identity import throttle, tokens
from scaleout.identity.bearer import caller
from scaleout.problems import Problem
from scaleout.problems.api import problems
from scaleout.sharding.ids import LARGEST

from shop.users import accounts, logins, passwords
from shop.users.fields import Email, Input, NewPassword, Password
from shop.users.models import Login, User, password_forms

# Narrow: one client at one account, so a person who has forgotten the password.
BY_BOTH = throttle.Limit("login", most=10, seconds=300)
# Wide: an office behind one address; and many addresses that guess one account's password.
BY_CLIENT = throttle.Limit("login-client", most=100, seconds=60)
BY_ACCOUNT = throttle.Limit("login-account", most=100, seconds=300)
# A client that has logged in before is exempt from BY_ACCOUNT, so no attacker can lock the owner
# out.
KNOWN, KNOWN_SECONDS = "login-known", 30 * 86_400
PASSWORDS = throttle.Limit("password", most=10, seconds=300)  # per user of the token

router = Router()


class Credentials(Input):
    email: Email
    password: Password


class Refresh(Input):
    refresh_token: str = Field(max_length=2000)


class NewPasswordIn(Input):
    current_password: Password
    new_password: NewPassword


class TokenOut(Schema):
    token: str
    expires_in: int = Field(description="Seconds.")
    refresh_token: str = Field(description="Valid for one use; the answer has the next one.")
    refresh_expires_in: int = Field(description="Seconds, from each use.")


@router.post("token", auth=None, response={200: TokenOut, **problems(401, 429)})
def token(request: HttpRequest, body: Credentials) -> dict[str, Any]:
    """Log in. A wrong password and an unknown address get the same answer in the same time."""
    client, account = by_address(request), _normalised(body.email)
    both = f"{client}|{account}"
    counted = [(BY_CLIENT, client), (BY_BOTH, both)]
    if not throttle.remembered(KNOWN, both):
        counted.append((BY_ACCOUNT, account))
    if seconds := throttle.attempt(*counted):
        raise Problem(429, f"Too many login attempts. Try again in {seconds} s.", {"Retry-After": str(seconds)})
    user = _find(body.email)
    if user is None:
        for form in password_forms(body.password):
            make_password(form)  # as slow as the check of a password
    if user is None or not user.check_password(body.password):
        _refuse("The address or the password is wrong.")
    try:
        login = logins.begin(user)
    except logins.LoggedOut:
        _refuse("The address or the password is wrong.")  # the password was changed a moment ago
    throttle.forget([(BY_BOTH, both)])
    for limit, subject in counted:
        if limit is not BY_BOTH:
            throttle.give_back(limit, subject)  # only this attempt: those of other clients stay counted
    throttle.remember(KNOWN, both, KNOWN_SECONDS)
    return _tokens(user, login)


@router.post("token/refresh", auth=None, response={200: TokenOut, **problems(401)})
def refresh(request: HttpRequest, body: Refresh) -> dict[str, Any]:
    """Exchange a refresh token for a token and the next refresh token. Reuse ends the login."""
    try:
        return _tokens(*logins.refresh(*tokens.read_refresh(body.refresh_token)))
    except (tokens.BadToken, logins.LoggedOut):
        _refuse("The refresh token is invalid, used or expired. Log in again.")


@router.post("logout", auth=None, response={204: None, **problems(401)})
def logout(request: HttpRequest, body: Refresh) -> Status[None]:
    """End the login of a refresh token. Every service rejects its tokens within a minute."""
    try:
        login, _ = tokens.read_refresh(body.refresh_token)
    except tokens.BadToken:
        _refuse("The refresh token is invalid or expired. Log in again.")
    logins.end(login)
    return Status(204, None)


@router.post("{int:user_id}/logout", response={204: None, **problems(401, 404)})
def logout_everywhere(request: HttpRequest, user_id: int) -> Status[None]:
    """End all logins of a user: the caller's own; any user's for staff."""
    visible(request, user_id)
    logins.end_all(user_id)
    return Status(204, None)


@router.post("{int:user_id}/password", response={200: TokenOut, **problems(401, 403, 404)})
def change_password(request: HttpRequest, user_id: int, body: NewPasswordIn) -> dict[str, Any]:
    """Change the own password. All logins end; the answer begins a new one.

    403: the current password is wrong.
    """
    user = visible(request, user_id)
    if caller(request).user_id != user_id:
        raise PermissionDenied("Only the user can change the password.")
    require_password(user, body.current_password)
    passwords.refuse_weak(body.new_password, email=user.email, name=user.name)
    try:
        changed = logins.change_password(user, body.new_password)
        return _tokens(changed, logins.begin(changed))
    except logins.LoggedOut:
        raise Problem(403, "Another request has changed the password. Log in again.") from None


def require_password(user: User, password: str | None) -> None:
    """Check the user's current password. Raises Problem 403 if it is wrong, 429 after ten.

    Rate limiting is disabled without Redis.
    """
    if password is None:
        raise Problem(403, "The current password is required. Send it as current_password.")
    refuse_many((PASSWORDS, str(user.id)), "Too many wrong passwords.")
    if not user.check_password(password):
        raise Problem(403, "The current password is wrong.")
    throttle.forget([(PASSWORDS, str(user.id))])


def refuse_many(subject: tuple[throttle.Limit, str], says: str) -> None:
    """Count an attempt. Raises Problem 429 above the limit."""
    if seconds := throttle.attempt(subject):
        raise Problem(429, f"{says} Try again in {seconds} s.", {"Retry-After": str(seconds)})


def _tokens(user: User, login: Login) -> dict[str, Any]:
    return {
        "token": tokens.for_user(user.id, is_staff=user.is_staff, login=str(login.id)),
        "expires_in": tokens.USER_SECONDS,
        "refresh_token": tokens.for_refresh(login.id, login.generation),
        "refresh_expires_in": tokens.REFRESH_SECONDS,
    }


def _refuse(says: str) -> NoReturn:
    raise Problem(401, says, {"WWW-Authenticate": "Bearer"}) from None


def visible(request: HttpRequest, user_id: int) -> User:
    """Return the user if the caller may see it. Raises Http404, also if another user exists."""
    if user_id > LARGEST or not caller(request).may_see(user_id):
        raise Http404
    found = User.objects.filter(pk=user_id).first()
    if found is None:
        raise Http404
    return found


def _find(email: str) -> User | None:
    try:
        return accounts.find(email)
    except ValidationError:
        return None  # not a valid address


def _normalised(email: str) -> str:
    try:
        return accounts.normalise(email)
    except ValidationError:
        return unicodedata.normalize("NFKC", email).strip().lower()  # a form that `find` also tries
