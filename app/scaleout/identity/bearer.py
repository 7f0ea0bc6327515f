"""`Authorization: Bearer <token>` for django-ninja, and the questions of a view about its
caller.
"""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.errors import AuthenticationError
from ninja.security import HttpBearer

from scaleout.identity.tokens import BadToken, Caller, verify


class Bearer(HttpBearer):
    """Let callers with a valid token in; answer 401 to all others."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the caller. Raises AuthenticationError."""
        try:
            return _verified(request, token.strip())
        except BadToken:
            raise AuthenticationError(message="The token is invalid or expired.") from None


class StaffBearer(Bearer):
    """Admit staff. Another caller gets 403 before the body is read: authorisation comes first."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the caller. Raises AuthenticationError, or PermissionDenied if not staff."""
        found = super().authenticate(request, token)
        if not found.is_staff:
            raise PermissionDenied("only staff may do this")
        return found


def _verified(request: HttpRequest, token: str) -> Caller:
    """Return the caller that the token names; verify its signature once a request. Raises
    BadToken.
    """
    before: tuple[str, Caller] | None = getattr(request, "_verified", None)
    if before is not None and before[0] == token:
        return before[1]
    found = verify(token)
    request._verified = token, found  # type: ignore[attr-defined]  # our own attribute
    return found


def user_key(request: HttpRequest) -> str | None:
    """Return a key of the user whose token the request has; None without a user's valid token.

    For code that runs before the view, such as `REPLICATION["USER"]`.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != Bearer.openapi_scheme or not token:
        return None
    try:
        found = _verified(request, token.strip()).user_id
    except BadToken:
        return None
    return None if found is None else f"user:{found}"


def caller(request: HttpRequest) -> Caller:
    """Return the caller of a view that has `auth=Bearer()`."""
    found: Caller = request.auth  # type: ignore[attr-defined]  # set by ninja
    return found


def user(request: HttpRequest) -> int:
    """Return the id of the calling user. Raises PermissionDenied for a service."""
    found = caller(request).user_id
    if found is None:
        raise PermissionDenied("only users may do this, not services")
    return found
