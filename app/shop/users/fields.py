"""The input fields of the users service."""

from __future__ import annotations

from typing import Annotated

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from scaleout.problems.api import NO_NUL, of_text
from scaleout.text import line, secret

from shop.users.models import EMAIL_MAX, NAME_MAX

PASSWORD_MIN, PASSWORD_MAX = 8, 200

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
NewPassword = Annotated[Password, StringConstraints(min_length=PASSWORD_MIN), BeforeValidator(of_text(secret))]


class Input(Schema):
    """A body that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")
