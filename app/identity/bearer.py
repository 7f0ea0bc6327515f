"""`Authorization: Bearer <token>` for django-ninja, and what a view asks about the caller."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.errors import AuthenticationError
from ninja.security import HttpBearer

from identity.tokens import BadToken, Caller, verify


class Bearer(HttpBearer):
    """Let in who brings a good token; anybody else is answered 401."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the caller. Raises AuthenticationError."""
        try:
            return verify(token.strip())
        except BadToken:
            raise AuthenticationError(message="The token is not valid, or not any more.") from None


def caller(request: HttpRequest) -> Caller:
    """Return who calls a view that has `auth=Bearer()`."""
    found: Caller = request.auth  # type: ignore[attr-defined]  # set by ninja
    return found


def user(request: HttpRequest) -> int:
    """Return the id of the user who calls. Raises PermissionDenied for a service."""
    found = caller(request).user_id
    if found is None:
        raise PermissionDenied("this is for users")
    return found


def require_staff(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the caller is staff."""
    if not caller(request).is_staff:
        raise PermissionDenied("this is for staff")
