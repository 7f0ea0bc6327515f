"""The check of new passwords by Django's validators (AUTH_PASSWORD_VALIDATORS)."""

from __future__ import annotations

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from scaleout.problems import Problem

from shop.users.models import User


def refuse_weak(password: str, *, email: str, name: str) -> None:
    """Raise Problem 400 for a password that is common, numeric, or similar to address or name."""
    try:
        password_validation.validate_password(password, User(email=email, name=name))  # type: ignore[arg-type]  # any object with these fields
    except ValidationError as error:
        raise Problem(400, f"The password is too weak. Choose another one. {' '.join(error.messages)}") from error
