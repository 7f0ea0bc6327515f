"""`/api/users/`: registering, logging in, and one's own record."""

from __future__ import annotations

from typing import Annotated, Any

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest
from ninja import Query, Schema, Status
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from scaleout.gateway import callers
from scaleout.identity import throttle, tokens
from scaleout.identity.bearer import Bearer, caller, require_staff
from scaleout.problems import Problem, require_match
from scaleout.problems.api import NO_NUL, Api, of_text, problems
from scaleout.sharding.ids import LARGEST
from scaleout.text import line, secret

from shop.users import accounts, orders
from shop.users.models import EMAIL_MAX, NAME_MAX, User, password_forms

PASSWORD_MIN, PASSWORD_MAX = 8, 200
PAGE, PAGE_MAX = 50, 200
# A person who has forgotten a password, and an office behind one address; not a dictionary.
BY_ADDRESS = throttle.Limit("login-address", most=10, seconds=300)
BY_CLIENT = throttle.Limit("login-client", most=100, seconds=60)

Email = Annotated[
    str,
    StringConstraints(max_length=EMAIL_MAX, pattern=NO_NUL),
    Field(examples=["ada@example.org"], json_schema_extra={"format": "email"}),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_MAX, pattern=NO_NUL),
    BeforeValidator(of_text(line)),
    Field(examples=["Ada"]),
]
Password = Annotated[
    str, StringConstraints(max_length=PASSWORD_MAX, pattern=NO_NUL), Field(examples=["correct horse battery"])
]

api = Api("users", "Users: registration, tokens and records.", auth=Bearer())


class Input(Schema):
    """A body in which every field is known."""

    model_config = ConfigDict(extra="forbid")


class NewUser(Input):
    email: Email
    name: Name
    password: Annotated[Password, StringConstraints(min_length=PASSWORD_MIN), BeforeValidator(of_text(secret))]


class Credentials(Input):
    email: Email
    password: Password


class Change(Input):
    """What is left out stays as it is."""

    email: Email | None = None
    name: Name | None = None


class UserOut(Schema):
    id: int
    email: str
    name: str


class TokenOut(Schema):
    token: str
    expires_in: int = Field(description="Seconds.")


class UserPage(Schema):
    items: list[UserOut]
    next: str | None
    partial: bool = Field(description="Users of a shard that does not answer are missing.")


class UserOrders(Schema):
    user: UserOut
    orders: list[dict[str, Any]] = Field(description="The latest, as the orders service shows them.")
    orders_available: bool


@api.post("", auth=None, response={201: UserOut, **problems(409)})
def register(request: HttpRequest, body: NewUser) -> Status[User]:
    """Make a user. 409: the address has one."""
    try:
        return Status(201, accounts.register(body.email, body.name, body.password))
    except (ValidationError, accounts.EmailTaken) as error:
        raise _refusal(error) from error


@api.post("token", auth=None, response={200: TokenOut, **problems(401, 429)})
def token(request: HttpRequest, body: Credentials) -> dict[str, Any]:
    """Log in. The answer to a wrong password and to an unknown address is the same, and takes as long."""
    address = (BY_ADDRESS, _normalised(body.email))
    client = (BY_CLIENT, callers.by_address(request))
    if seconds := throttle.attempt(client, address):
        raise Problem(429, "Too many attempts to log in. Try again later.", {"Retry-After": str(seconds)})
    user = _find(body.email)
    if user is None:
        for form in password_forms(body.password):
            make_password(form)  # as much work as to check one
    if user is None or not user.check_password(body.password):
        raise Problem(401, "The address or the password is wrong.", {"WWW-Authenticate": "Bearer"})
    throttle.forget([address])
    throttle.give_back(*client)  # not forgotten: whoever has a user of his own could go on guessing at others
    return {"token": tokens.for_user(user.id, is_staff=user.is_staff), "expires_in": tokens.USER_SECONDS}


@api.get("", response={200: UserPage, **problems(401, 403)})
def users(
    request: HttpRequest,
    cursor: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
) -> dict[str, Any]:
    """All users, for staff, in the order of their ids."""
    require_staff(request)
    page = User.objects.scatter(limit=limit, after=cursor)
    return {"items": page.items, "next": str(page.next) if page.next else None, "partial": page.partial}


@api.get("{int:user_id}", response={200: UserOut, **problems(401, 404)})
def user(request: HttpRequest, user_id: int) -> User:
    """One's own record; staff see each."""
    return _visible(request, user_id)


@api.patch("{int:user_id}", response={200: UserOut, **problems(401, 404, 409, 412)})
def change(request: HttpRequest, user_id: int, body: Change) -> User:
    """Change the name, the address, or both. 409: the address has another user."""
    _visible(request, user_id)
    require_match(request, "")
    try:
        if body.email is not None:
            accounts.change_email(user_id, body.email)
        if body.name is not None:
            accounts.rename(user_id, body.name)
    except (ValidationError, accounts.EmailTaken) as error:
        raise _refusal(error) from error
    except User.DoesNotExist:
        raise Http404 from None  # deleted meanwhile
    return _visible(request, user_id)


@api.delete("{int:user_id}", response={204: None, **problems(401, 404, 412)})
def delete(request: HttpRequest, user_id: int) -> Status[None]:
    """Delete a user. The address is free afterwards."""
    _visible(request, user_id)
    require_match(request, "")
    accounts.delete(user_id)
    return Status(204, None)


@api.get("{int:user_id}/orders", response={200: UserOrders, **problems(401, 404)})
def user_orders(request: HttpRequest, user_id: int) -> dict[str, Any]:
    """A user with the latest orders; without them while the orders service is away."""
    found = _visible(request, user_id)
    latest = orders.latest(user_id)
    return {"user": found, "orders": latest or [], "orders_available": latest is not None}


def _visible(request: HttpRequest, user_id: int) -> User:
    """Return the user if the caller may see it. Whether another one exists is not told."""
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
        return None  # no address, so nobody's


def _normalised(email: str) -> str:
    try:
        return accounts.normalise(email)
    except ValidationError:
        return email


def _refusal(error: ValidationError | accounts.EmailTaken) -> Problem:
    if isinstance(error, ValidationError):
        return Problem(400, f"body.email: {' '.join(error.messages)}")
    if isinstance(error, accounts.EmailReserved):
        seconds = int(accounts.PATIENCE.total_seconds())
        return Problem(409, "This address is just being registered, or changed to.", {"Retry-After": str(seconds)})
    return Problem(409, "Another user has this address.")
