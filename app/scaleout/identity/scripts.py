"""Run a script of Redis by its name."""

from __future__ import annotations

import hashlib
from typing import Any

from redis.exceptions import NoScriptError


def run(redis: Any, script: str, key: str, *arguments: int | str) -> Any:
    """Run a script on one key by its digest; load it first if Redis does not have it.

    This user of Redis may run scripts in no other way.
    """
    name = hashlib.sha1(script.encode()).hexdigest()  # noqa: S324 - Redis's choice
    try:
        return redis.evalsha(name, 1, key, *arguments)
    except NoScriptError:
        redis.script_load(script)
        return redis.evalsha(name, 1, key, *arguments)
