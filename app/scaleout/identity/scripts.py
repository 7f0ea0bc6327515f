"""Run a script of Redis by its name."""

from __future__ import annotations

import hashlib
from typing import Any

from redis.exceptions import NoScriptError


def run(redis: Any, script: str, key: str, *arguments: int | str) -> Any:
    """Run a script on one key by its name, which is all that this user of Redis may; load it where
    Redis has it not.
    """
    name = hashlib.sha1(script.encode()).hexdigest()  # noqa: S324 - Redis's choice
    try:
        return redis.evalsha(name, 1, key, *arguments)
    except NoScriptError:
        redis.script_load(script)
        return redis.evalsha(name, 1, key, *arguments)
