"""`/api/users/`: registration, login, and users' records."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest
from ninja import Query, Schema, Status
from pydantic import Field
from scaleout.gateway import by_address
from scaleout.identity import throttle
from scaleout.identity.bearer import Bearer, StaffBearer, caller
from scaleout.problems import Problem, require_match
from scaleout.problems.api import Api, problems
from scaleout.sharding.ids import LARGEST

from shop.users import accounts, login_api, orders, passwords
from shop.users.fields import Email, Input, Name, NewPassword, Password
from shop.users.login_api import visible
from shop.users.models import User

PAGE, PAGE_MAX = 50, 200
ADDRESS_CHANGES = throttle.Limit("address-changes", most=10, seconds=3600)  # each reveals whether an address is taken

api = Api("users", "Users: registration, tokens and records.", auth=Bearer())
api.add_router("", login_api.router)


class NewUser(Input):
    email: Email
    name: Name
    password: NewPassword


class Change(Input):
    """A change: a field that is not given keeps its value."""

    email: Email | None = None
    name: Name | None = None
    current_password: Password | None = Field(None, description="Required for a change of the own address.")


class Accepted(Schema):
    detail: str


class UserOut(Schema):
    id: int
    email: str
    name: str


class UserPage(Schema):
    items: list[UserOut]
    next: str | None
    partial: bool = Field(description="True if a shard did not answer: its users are missing.")


class UserOrders(Schema):
    user: UserOut
    orders: list[dict[str, Any]] = Field(description="The latest orders, as the orders service shows them.")
    orders_available: bool


@api.post("", auth=None, response={201: UserOut, 202: Accepted, **problems(409)})
def register(request: HttpRequest, body: NewUser) -> Status[Any]:
    """Create a user. 409: another user has the address.

    202: this site does not reveal taken addresses. Log in to see whether the user was created.
    """
    if settings.USERS_REGISTRATIONS:
        limit = throttle.Limit("registration", most=settings.USERS_REGISTRATIONS, seconds=3600)
        login_api.refuse_many((limit, by_address(request)), "Too many registrations.")
    passwords.refuse_weak(body.password, email=body.email, name=body.name)
    try:
        user = accounts.register(body.email, body.name, body.password)
    except accounts.EmailTaken as error:
        if settings.USERS_TELLS_ADDRESSES:
            raise _refusal(error) from error
    except ValidationError as error:
        raise _refusal(error) from error
    else:
        if settings.USERS_TELLS_ADDRESSES:
            return Status(201, user)
    return Status(202, {"detail": "If the address was free, the user was created. Log in."})


@api.get("", auth=StaffBearer(), response={200: UserPage, **problems(401, 403)})
def users(
    request: HttpRequest,
    cursor: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
) -> dict[str, Any]:
    """List all users by id. For staff."""
    page = User.objects.scatter(limit=limit, after=cursor)
    return {"items": page.items, "next": str(page.next) if page.next else None, "partial": page.partial}


@api.get("{int:user_id}", response={200: UserOut, **problems(401, 404)})
def user(request: HttpRequest, user_id: int) -> User:
    """Return a user: the caller's own record; any for staff."""
    return visible(request, user_id)


@api.patch("{int:user_id}", response={200: UserOut, **problems(401, 403, 404, 409, 412)})
def change(request: HttpRequest, user_id: int, body: Change) -> User:
    """Change the name, the address, or both.

    403: the own address needs the current password. 409: another user has the address.
    """
    found = visible(request, user_id)
    require_match(request, "")
    try:
        if body.email is not None and accounts.normalise(body.email) != found.email:
            login_api.refuse_many((ADDRESS_CHANGES, str(user_id)), "Too many address changes.")
            if caller(request).user_id == user_id:
                login_api.require_password(found, body.current_password)
            accounts.change_email(user_id, body.email)
        if body.name is not None:
            accounts.rename(user_id, body.name)
    except (ValidationError, accounts.EmailTaken) as error:
        raise _refusal(error) from error
    except User.DoesNotExist:
        raise Http404 from None  # deleted by another request
    return visible(request, user_id)


@api.delete("{int:user_id}", response={204: None, **problems(401, 404, 412)})
def delete(request: HttpRequest, user_id: int) -> Status[None]:
    """Delete a user and free the address."""
    visible(request, user_id)
    require_match(request, "")
    accounts.delete(user_id)
    return Status(204, None)


@api.get("{int:user_id}/orders", response={200: UserOrders, **problems(401, 404)})
def user_orders(request: HttpRequest, user_id: int) -> dict[str, Any]:
    """Return a user with the latest orders; without them while orders is unavailable."""
    found = visible(request, user_id)
    latest = orders.latest(user_id)
    return {"user": found, "orders": latest or [], "orders_available": latest is not None}


def _refusal(error: ValidationError | accounts.EmailTaken) -> Problem:
    if isinstance(error, ValidationError):
        return Problem(400, f"body.email: {' '.join(error.messages)}")
    if isinstance(error, accounts.EmailReserved):
        seconds = int(accounts.PATIENCE.total_seconds())
        return Problem(
            409, f"Another request has reserved this address. Try again in {seconds} s.", {"Retry-After": str(seconds)}
        )
    return Problem(409, "Another user has this address. Log in, or use another address.")
