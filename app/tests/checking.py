"""What `manage.py check` says."""

from __future__ import annotations

import re
from io import StringIO

from django.core.management import call_command
from django.core.management.base import SystemCheckError


def complaints() -> list[str]:
    """Run the command and return its errors, each as `id message`."""
    try:
        call_command("check", stdout=StringIO())
    except SystemCheckError as error:
        return [" ".join(found) for found in re.findall(r"^.*: \((scaleout\.\S+)\) (.+)$", str(error), re.MULTILINE)]
    return []
